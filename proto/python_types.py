"""The text of `app/core/result.py`."""

from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from reading import PACKAGE, TIMESTAMP, Contract, is_map, is_repeated, value_of, words

HEAD = '''\
"""The event contract: what every captured frame ends as, and what else is told of it, over every transport."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from app.core.frame import Timings

MAX_OBJECTS = {max_objects}
"""Objects in one result at the most; `truncated` says when there were more."""
'''
STANDS_ELSEWHERE = {f"{PACKAGE}.Timings"}
"""`app.core.frame` has it: frames carry it before there is a result."""
KINDS = FieldDescriptor
SCALARS = {KINDS.CPPTYPE_STRING: "str", KINDS.CPPTYPE_BOOL: "bool", KINDS.CPPTYPE_DOUBLE: "float"}
EMPTY = {"str": '""', "bool": "False", "float": "0.0", "int": "0"}


def python_types(contract: Contract) -> str:
    """Enums and frozen dataclasses, each after what it needs, and the union of all events."""
    parts = dict.fromkeys(part for event in contract.events for part in contract.parts(event))
    blocks = [_enum(contract, part) if isinstance(part, EnumDescriptor) else _dataclass(contract, part)
              for part in parts if part.full_name not in STANDS_ELSEWHERE]  # fmt: skip
    objects = contract.pool.FindFieldByName(f"{PACKAGE}.FrameResult.objects")
    union = " | ".join(event.name for event in contract.events)
    events = f'Event: TypeAlias = {union}\n"""What is told of a stream."""\n'
    return "\n\n".join([HEAD.format(max_objects=contract.rule(objects).max_items), *blocks, events])


def _enum(contract: Contract, enum: EnumDescriptor) -> str:
    values = "".join(f'    {word.upper()} = "{word}"\n' for word in words(enum))
    return f"class {enum.name}(StrEnum):\n{_docstring(contract, enum.full_name)}\n{values}"


def _dataclass(contract: Contract, message: Descriptor) -> str:
    lines = "".join(
        f"    {one.name}: {_type(contract, one)}{_default(contract, one)}\n" for one in contract.fields(message)
    )
    head = f"@dataclass(frozen=True, slots=True, kw_only=True)\nclass {message.name}:\n"
    return f"{head}{_docstring(contract, message.full_name)}\n{lines}"


def _docstring(contract: Contract, name: str) -> str:
    first, *rest = contract.comments[name].splitlines()
    if not rest:
        return f'    """{first}"""\n'
    return "\n".join([f'    """{first}', *(f"    {line}".rstrip() for line in rest), '    """\n'])


def _type(contract: Contract, one: FieldDescriptor) -> str:
    value = _value_type(value_of(one))
    if is_map(one):
        return f"dict[str, {value}]"
    return f"tuple[{_items(value, contract.rule(one))}]" if is_repeated(one) else value


def _items(value: str, rule: Any) -> str:
    is_fixed = rule.HasField("min_items") and rule.min_items == rule.max_items
    return ", ".join([value] * rule.min_items) if is_fixed else f"{value}, ..."


def _value_type(one: FieldDescriptor) -> str:
    if one.enum_type is not None:
        return str(one.enum_type.name)
    if one.message_type is not None:
        return "datetime" if one.message_type.full_name == TIMESTAMP else str(one.message_type.name)
    return SCALARS.get(one.cpp_type, "int")


def _default(contract: Contract, one: FieldDescriptor) -> str:
    if one.name == "schema":
        return f' = "{one.containing_type.full_name}"'
    if not contract.rule(one).defaulted:
        return "" if contract.is_required(one) else " | None = None"
    if is_map(one):
        return " = field(default_factory=dict)"
    if is_repeated(one):
        return " = ()"
    kind = _value_type(one)
    return f" = {EMPTY[kind]}" if kind in EMPTY else f" = field(default_factory={kind})"
