"""The JSON Schemas of the events."""

from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from reading import TIMESTAMP, Contract, is_map, is_repeated, value_of, words

DRAFT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
KINDS = FieldDescriptor
SCALARS: dict[int, Schema] = {
    KINDS.CPPTYPE_STRING: {"type": "string"},
    KINDS.CPPTYPE_BOOL: {"type": "boolean"},
    KINDS.CPPTYPE_DOUBLE: {"type": "number"},
    KINDS.CPPTYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    KINDS.CPPTYPE_UINT64: {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
    KINDS.CPPTYPE_INT64: {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
}


def json_schemas(contract: Contract) -> dict[str, Schema]:
    """One self-contained schema for each event, by its name."""
    return {event.name: _document(contract, event) for event in contract.events}


def _document(contract: Contract, event: Descriptor) -> Schema:
    parts = [part for part in contract.parts(event) if part is not event]
    document = {"$schema": DRAFT, **_part(contract, event)}
    return {**document, "$defs": {part.name: _part(contract, part) for part in parts}} if parts else document


def _part(contract: Contract, part: Descriptor | EnumDescriptor) -> Schema:
    named = {"title": part.name, "description": contract.comments[part.full_name]}
    if isinstance(part, EnumDescriptor):
        return {**named, "type": "string", "enum": words(part)}
    fields = contract.fields(part)
    return {
        **named,
        "type": "object",
        "properties": {one.name: _property(contract, one) for one in fields},
        "required": [one.name for one in fields if contract.is_required(one)],
        "additionalProperties": False,
    }


def _property(contract: Contract, one: FieldDescriptor) -> Schema:
    if one.name == "schema":
        return {"const": one.containing_type.full_name}
    comment = contract.comments.get(one.full_name)
    described = {"description": comment} if comment else {}
    rule = contract.rule(one)
    value = _value(value_of(one))
    limits = {word: _number(getattr(rule, word)) for word in ("minimum", "maximum") if rule.HasField(word)}
    if is_map(one):
        return {**described, "type": "object", "additionalProperties": value}
    if is_repeated(one):
        sizes = {"minItems": "min_items", "maxItems": "max_items"}
        bounds = {word: getattr(rule, name) for word, name in sizes.items() if rule.HasField(name)}
        return {**described, "type": "array", "items": value, **bounds}
    return {**described, **value, **limits}


def _value(one: FieldDescriptor) -> Schema:
    if one.enum_type is not None:
        return {"$ref": f"#/$defs/{one.enum_type.name}"}
    if one.message_type is None:
        return SCALARS[one.cpp_type]
    if one.message_type.full_name == TIMESTAMP:
        return {"type": "string", "format": "date-time"}
    return {"$ref": f"#/$defs/{one.message_type.name}"}


def _number(value: float) -> float:
    return int(value) if value.is_integer() else value
