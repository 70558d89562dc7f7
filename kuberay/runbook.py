"""The runbook's pages, one per alert, written from the alerts' own annotations.

`python -m kuberay.runbook` writes them; a test holds them to this.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).resolve().parent
ALERTS = _HERE / "components" / "monitoring" / "alerts.yaml"
PAGES = _HERE / "runbook" / "alerts"


def alerts() -> Iterator[dict[str, Any]]:
    """Yield the rules that alert, in their order."""
    manifest = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    for group in manifest["spec"]["groups"]:
        yield from (rule for rule in group["rules"] if "alert" in rule)


def page(rule: dict[str, Any]) -> str:
    """Return the text of an alert's page; KeyError when one of its four annotations is missing."""
    told = {key: " ".join(rule["annotations"][key].split()) for key in ("summary", "meaning", "look", "action")}
    waits = f", for {rule['for']}" if "for" in rule else ""
    return (
        f"# {rule['alert']}\n\n{told['summary']}. {rule['labels']['priority']}.\n\n"
        f"    {' '.join(rule['expr'].split())}{waits}\n\n"
        f"## What it means\n\n{told['meaning']}\n\n## What to look at\n\n{told['look']}\n\n"
        f"## What to do\n\n{told['action']}\n"
    )


if __name__ == "__main__":
    PAGES.mkdir(parents=True, exist_ok=True)
    for stale in PAGES.glob("*.md"):
        stale.unlink()
    for one in alerts():
        (PAGES / f"{one['alert']}.md").write_text(page(one), encoding="utf-8")
