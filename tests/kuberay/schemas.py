"""What the API server itself would say: KubeRay's own schemas for its objects, the client's models for Kubernetes'."""

import copy
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from kubernetes import client

CRDS = Path(__file__).resolve().parents[3] / "shared" / "kuberay-crds"
_MODELS = {
    "v1": "V1",
    "apps/v1": "V1",
    "policy/v1": "V1",
    "networking.k8s.io/v1": "V1",
    "resource.k8s.io/v1": "ResourceV1",
}


def core_errors(manifest: Mapping[str, Any]) -> list[str]:
    """What the client's model of an object of Kubernetes does not know, or misses; KeyError for other groups."""
    kind = manifest["kind"]
    names = [prefix + kind for prefix in (_MODELS[manifest["apiVersion"]], "V1")]
    model = next(name for name in names if hasattr(client, name))
    answer = type("Answer", (), {"data": json.dumps(manifest)})()
    api = client.ApiClient()
    try:
        read = api.deserialize(answer.data, model, "application/json")
    except ValueError as error:
        return [str(error)]
    return list(_lost(manifest, api.sanitize_for_serialization(read), kind))


def _lost(given: Any, kept: Any, where: str) -> Iterator[str]:
    if isinstance(given, Mapping):
        for key, value in given.items():
            if not isinstance(kept, Mapping) or key not in kept:
                if value not in (None, {}, []):
                    yield f"{where}.{key} is not known"
            else:
                yield from _lost(value, kept[key], f"{where}.{key}")
    elif isinstance(given, list):
        for index, (one, other) in enumerate(zip(given, kept or [], strict=True)):
            yield from _lost(one, other, f"{where}[{index}]")
    elif given != kept:
        yield f"{where} is {given!r} and read as {kept!r}"


def crd_errors(manifest: Mapping[str, Any]) -> list[str]:
    """What the schema of KubeRay's own object says, with unknown fields refused as kubectl has it."""
    found = _schema(manifest["kind"].lower() + "s").iter_errors(json.loads(json.dumps(manifest)))
    return [f"{error.json_path} {error.message[:200]}" for error in found]


@cache
def _schema(plural: str) -> jsonschema.Draft202012Validator:
    text = (CRDS / f"ray.io_{plural}.yaml").read_text(encoding="utf-8")
    crd = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe
    (schema,) = (one["schema"]["openAPIV3Schema"] for one in crd["spec"]["versions"] if one["name"] == "v1")
    closed = _closed(copy.deepcopy(schema))
    closed["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(closed)


def _closed(schema: Any) -> Any:
    if isinstance(schema, dict):
        is_object = "properties" in schema and isinstance(schema["properties"], dict)
        if is_object and not {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & set(schema):
            schema["additionalProperties"] = False
        for value in schema.values():
            _closed(value)
    elif isinstance(schema, list):
        for value in schema:
            _closed(value)
    return schema
