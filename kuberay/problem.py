"""What is wrong with a manifest, in one sentence that names the field."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`owner` is the object, `field` the path in it, `words` what is wrong there, as the end of the sentence."""

    owner: str
    field: str
    words: str

    def __str__(self) -> str:
        """One sentence."""
        return f"{self.owner}: {self.field} {self.words}."
