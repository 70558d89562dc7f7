"""A ModelSpec as JSON values: what those who load a version tell those who route to it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from app.core.model import Head, ModelSpec


def card_of(spec: ModelSpec) -> dict[str, Any]:
    """The spec for `spec_of`."""
    return {**asdict(spec), "labels": list(spec.labels), "head": spec.head.value}


def spec_of(card: Mapping[str, Any]) -> ModelSpec:
    """The spec that `card_of` wrote down; TypeError, ValueError or KeyError for what is none."""
    return ModelSpec(**{**card, "labels": tuple(card["labels"]), "head": Head(card["head"])})
