"""Lines over a common axis, side by side in one SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH_PX, HEIGHT_PX, MARGIN_PX = 420, 280, 50
COLOURS = ("steelblue", "seagreen", "darkorange", "firebrick")
_TICKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """One plot of named lines of (x, y) points; what lies above `most_y` is cut off. The axes begin at `least_x`, 0."""

    title: str
    across: str
    up: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    most_y: float
    least_x: float = 0.0

    def svg(self) -> str:
        """What stands in the panel, from (0, 0) to (WIDTH_PX, HEIGHT_PX)."""
        most_x = max(x for points in self.lines.values() for x, _ in points)
        left, right = MARGIN_PX, WIDTH_PX - MARGIN_PX / 2
        top, floor = MARGIN_PX, HEIGHT_PX - MARGIN_PX

        def place(x: float, y: float) -> str:
            across_px = left + (x - self.least_x) / (most_x - self.least_x) * (right - left)
            return f"{across_px:.1f},{floor - min(y / self.most_y, 1.0) * (floor - top):.1f}"

        parts = [
            _text(WIDTH_PX / 2, 18, self.title),
            _text(WIDTH_PX / 2, HEIGHT_PX - 14, self.across),
            _text(left, top - 8, self.up),
            f'<path d="M{left} {top}V{floor}H{right}" fill="none" stroke="black"/>',
        ]
        for tick in range(_TICKS + 1):
            x, y = self.least_x + tick / _TICKS * (most_x - self.least_x), tick / _TICKS * self.most_y
            parts += [
                _text(left + tick / _TICKS * (right - left), floor + 15, f"{x:.3g}"),
                _text(left - 4, floor - tick / _TICKS * (floor - top) + 4, f"{y:.3g}", anchor="end"),
            ]
        for index, (name, points) in enumerate(self.lines.items()):
            colour = COLOURS[index % len(COLOURS)]
            path = " ".join(place(x, y) for x, y in points)
            parts += [
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
                f'<g fill="{colour}">{_text(left + 8, top + 12 + 13 * index, name, anchor="start")}</g>',
            ]
        return "".join(parts)


def plot(path: Path, panels: Sequence[Lines]) -> None:
    """Write the panels to a file, one beside the other."""
    groups = [f'<g transform="translate({index * WIDTH_PX})">{panel.svg()}</g>' for index, panel in enumerate(panels)]
    size = f'width="{len(panels) * WIDTH_PX}" height="{HEIGHT_PX}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    path.write_text("\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *groups, "</svg>\n"]))


def _text(x: float, y: float, words: str, *, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'
