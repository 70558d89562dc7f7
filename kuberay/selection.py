"""Which labels a selector of Kubernetes selects, and which taints a pod tolerates."""

from collections.abc import Iterable, Mapping
from typing import Any

from kuberay.manifest import entries, section

Labels = Mapping[str, Any]


def is_selected(selector: object, labels: Labels) -> bool:
    """Whether a LabelSelector matches; an empty one matches everything.

    Source: Kubernetes API, LabelSelector.
    """
    exact = section(selector, "matchLabels")
    return all(labels.get(key) == value for key, value in exact.items()) and all(
        _meets(expression, labels) for expression in entries(section(selector).get("matchExpressions"))
    )


def is_placeable(pod: Mapping[str, Any], labels: Labels) -> bool:
    """Whether a pod's nodeSelector and required node affinity accept a node with these labels."""
    if any(labels.get(key) != value for key, value in section(pod, "nodeSelector").items()):
        return False
    required = section(pod, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    terms = entries(required.get("nodeSelectorTerms"))
    return not terms or any(
        all(_meets(expression, labels) for expression in entries(term.get("matchExpressions"))) for term in terms
    )


def is_tolerated(taints: Iterable[Mapping[str, Any]], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pod with these tolerations may start on a node with these taints."""
    given = list(tolerations)
    keeping_out = [taint for taint in taints if taint.get("effect") in ("NoSchedule", "NoExecute")]
    return all(any(_covers(toleration, taint) for toleration in given) for taint in keeping_out)


def _covers(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if not (_is_any(toleration.get("effect")) or toleration.get("effect") == taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return _is_any(toleration.get("key")) or toleration.get("key") == taint.get("key")
    return toleration.get("key") == taint.get("key") and toleration.get("value", "") == taint.get("value", "")


def _is_any(value: object) -> bool:
    return value is None or value == ""


def _meets(expression: Mapping[str, Any], labels: Labels) -> bool:
    key, given = expression.get("key"), expression.get("values")
    values = given if isinstance(given, list) else []
    value = labels.get(key) if isinstance(key, str) else None
    match expression.get("operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            return _is_beyond(value, values, above=operator == "Gt")
        case _:
            return False


def _is_beyond(value: object, bounds: list[Any], *, above: bool) -> bool:
    try:
        (bound,) = bounds
        one, other = int(str(value)), int(str(bound))
    except ValueError:
        return False
    return one > other if above else one < other
