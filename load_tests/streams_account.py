"""What was told of one stream in the scenario `streams`, and what is wrong with it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Json = dict[str, Any]
_RESULT, _CROSSED, _STATE = (f"sightline.v1.{kind}" for kind in ("FrameResult", "LineCrossed", "StreamState"))


@dataclass(slots=True, kw_only=True)
class Account:
    """One stream: the answer to each frame that was pushed, what a reader was told live, and what the log says after.

    `answers[seq]` and the lines of `live` and `log` are the bytes that came; `closing` is the answer to the closing.
    """

    stream_id: str
    answers: dict[int, bytes] = field(default_factory=dict)
    live: list[bytes] = field(default_factory=list)
    log: list[bytes] = field(default_factory=list)
    closing: Json = field(default_factory=dict)


def faults(account: Account, *, pushed: int) -> Counter[str]:
    """What is wrong with it, by kind; empty when every one of `pushed` frames has one end, the same everywhere.

    `lost` ends are missing, `duplicated` events came twice, `disordered` results came before an earlier one,
    `changed` ones say two things about one frame, `unexplained` ones are no results and have no reason, `foreign`
    events are another stream's, `reused` track ids came again in a later epoch.
    """
    found: Counter[str] = Counter()
    for lines in (account.live, account.log):
        found += _faults_in([json.loads(line) for line in lines], account.stream_id, pushed=pushed)
        bodies = {event["seq"]: line for line in lines if (event := json.loads(line))["schema"] == _RESULT}
        found["changed"] += sum(account.answers.get(seq, body) != body for seq, body in bodies.items())
    found["lost"] += pushed - len(account.answers)
    closing = account.closing
    ended = closing["answered"] + sum(closing["dropped"].values()) + sum(closing["errors"].values())
    found["lost"] += abs(pushed - closing["captured"]) + abs(pushed - ended) + closing["in_flight"]
    return +found


def _faults_in(events: Sequence[Json], stream_id: str, *, pushed: int) -> Counter[str]:
    results = [event for event in events if event["schema"] == _RESULT]
    seqs = [result["seq"] for result in results]
    ids = {(event["epoch"], found["track_id"]) for event in results for found in _objects(event) if "track_id" in found}
    return Counter(
        lost=len(set(range(pushed)) - set(seqs)),
        duplicated=len(events) - len({event["event_id"] for event in events}) + len(seqs) - len(set(seqs)),
        disordered=sum(later < earlier for earlier, later in pairwise(seqs)),
        unexplained=sum(result["status"] != "result" and not result.get("reason") for result in results),
        foreign=sum(event["stream_id"] != stream_id for event in events),
        reused=len(ids) - len({track_id for _, track_id in ids}),
    )


def crossing_error(account: Account, control: Account) -> int:
    """The worst difference between the two in the count of any line and direction."""
    ours, theirs = _crossings(account), _crossings(control)
    return max((abs(ours[key] - theirs[key]) for key in ours | theirs), default=0)


def crossings(account: Account) -> int:
    """How often any line was crossed."""
    return _crossings(account).total()


def _crossings(account: Account) -> Counter[tuple[str, str]]:
    told = map(json.loads, account.log)
    return Counter((event["line"], event["direction"]) for event in told if event["schema"] == _CROSSED)


def differing_frames(account: Account, control: Account) -> int:
    """Frames of which the two do not tell the same: ends, objects and their identities, crossings."""
    ours, theirs = _by_frame(account), _by_frame(control)
    return sum(ours.get(seq) != theirs.get(seq) for seq in ours.keys() | theirs.keys())


def reasons(account: Account) -> Counter[str]:
    """Why frames have no result."""
    told = [event for line in account.log if (event := json.loads(line))["schema"] == _RESULT]
    return Counter(f"{event['status']}: {event.get('reason')}" for event in told if event["status"] != "result")


def _by_frame(account: Account) -> dict[int, list[Json]]:
    frames: dict[int, list[Json]] = {}
    for event in map(json.loads, account.log):
        if event["schema"] != _STATE:
            event["event_id"] = event["event_id"].removeprefix(event.pop("stream_id"))
            event.pop("timings", None)
            frames.setdefault(event["seq"], []).append(event)
    return frames


def _objects(event: Json) -> list[Json]:
    found: list[Json] = event.get("objects", [])
    return found
