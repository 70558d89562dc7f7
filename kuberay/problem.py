"""What is wrong with a manifest, in one sentence that names the field."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`owner` is the object, `field` the path in it, `words` what is wrong there, as the end of the sentence."""

    owner: str
    field: str
    words: str

    def __str__(self) -> str:
        """One sentence on one line; what a terminal might take for a command is escaped."""
        return re.sub(r"[^ -~]", _escaped, f"{self.owner}: {self.field} {self.words}.")


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
