"""Whatever stands in a manifest, `validate` answers with sentences of one line and never with a traceback."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from app.core.errors import InvalidRequestError
from kuberay.manifest import read_manifests
from kuberay.validation import problems
from tests.kuberay.good_service import NODES, good_manifests

Path = tuple[str | int, ...]
_ANY = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats()
    | some.text(max_size=5)
    | some.sampled_from(["0.5", "1", "-1", "\x1b[2J", "a\nb", "NewCluster"]),
    lambda inner: (
        some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5) | some.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place in a tree but its root."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*at, key)
        yield from paths(below, (*at, key))


def put(tree: Any, path: Path, value: object) -> Any:
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return tree


def serve_config() -> Any:
    return yaml.safe_load(good_manifests()[0]["spec"]["serveConfigV2"])


def extended() -> list[Any]:
    """The good manifests, with what else is looked at."""
    manifests = good_manifests()
    spec = manifests[0]["spec"]
    options = {"stepSizePercent": 5, "maxSurgePercent": 50, "intervalSeconds": 3, "gatewayClassName": "x"}
    spec["upgradeStrategy"] = {"type": "NewClusterWithIncrementalUpgrade", "clusterUpgradeOptions": options}
    manifests[0]["metadata"]["annotations"] = {"ray.io/initializing-timeout": "30m"}
    pod = spec["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    pod["affinity"] = {"nodeAffinity": required}
    pod["restartPolicy"] = "Never"
    manifests[1]["spec"]["selector"]["matchExpressions"] = [{"key": "app", "operator": "Gt", "values": ["1"]}]
    return manifests


def sentences(manifests: list[Any]) -> list[str]:
    found = [str(problem) for problem in problems(manifests, nodes=list(read_manifests(NODES, name="nodes")))]
    assert all(sentence.isprintable() and sentence.endswith(".") for sentence in found), found
    return found


@settings(deadline=None)
@given(path=some.sampled_from([path for path in paths(extended()) if len(path) > 2]), value=_ANY)
def test_any_value_at_any_place_of_a_manifest(path: Path, value: object) -> None:
    manifests = put(extended(), path, value)
    if not isinstance(manifests[path[0]]["metadata"], dict) or not isinstance(
        manifests[path[0]]["metadata"].get("name"), str
    ):
        return  # such a document is refused before
    sentences(manifests)


@settings(deadline=None)
@given(path=some.sampled_from(list(paths(serve_config()))), value=_ANY)
def test_any_value_at_any_place_of_a_serve_configuration(path: Path, value: object) -> None:
    manifests = good_manifests()
    config = put(serve_config(), path, value)
    try:
        manifests[0]["spec"]["serveConfigV2"] = yaml.safe_dump(config)
    except ValueError:  # a number of more digits than Python writes
        return
    sentences(manifests)


@settings(deadline=None)
@given(path=some.sampled_from(list(paths(yaml.safe_load(NODES)["items"]))), value=_ANY)
def test_any_value_at_any_place_of_a_node(path: Path, value: object) -> None:
    nodes = put(copy.deepcopy(yaml.safe_load(NODES)["items"]), path, value)
    assert isinstance(problems(good_manifests(), nodes=[node for node in nodes if isinstance(node, dict)]), list)


@given(
    text=some.text(max_size=40)
    | some.sampled_from(["!!int ''", "2001-99-99", "!!bool a", "a: &x [*x]", "[" * 300, "? []\n: 1"])
)
def test_any_text_is_a_manifest_or_is_refused_in_one_line(text: str) -> None:
    refused = ""
    try:
        read_manifests(text, name="given")
    except InvalidRequestError as error:
        refused = error.detail
    assert refused.isprintable()
    manifests = good_manifests()
    manifests[0]["spec"]["serveConfigV2"] = text
    assert sentences(manifests)


def test_a_number_of_more_digits_than_python_writes_is_refused() -> None:
    text = "{kind: Service, metadata: {name: a}, spec: 0x" + "f" * 5000 + "}"
    with pytest.raises(InvalidRequestError, match="is not YAML"):
        read_manifests(text, name="given")
    manifests = good_manifests()
    manifests[0]["spec"]["serveConfigV2"] = f"applications: [{text}]"
    assert any("spec.serveConfigV2 is not YAML" in sentence for sentence in sentences(manifests))


@pytest.mark.parametrize("items", ["a", 3, {"a": 1}, [1], [[]]])
def test_a_list_of_no_objects_is_refused(items: object) -> None:
    with pytest.raises(InvalidRequestError):
        read_manifests(yaml.safe_dump({"kind": "List", "items": items}), name="given")
