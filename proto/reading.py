"""The contract as protoc understood it: its events, their fields, comments and rules."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "sightline.v1"
TIMESTAMP = "google.protobuf.Timestamp"
EVENT = f"{PACKAGE}.Event"
_MESSAGES, _ENUMS, _FIELDS = 4, 5, 2
"""Field numbers in descriptor.proto by which source locations name their parts."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """`comments` are by full name: of a message, an enum, or a field."""

    pool: DescriptorPool
    comments: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, described: FileDescriptorSet) -> "Contract":
        """The contract is the last file of the set, after what it imports."""
        pool = DescriptorPool()
        for file in described.file:
            pool.Add(file)
        return cls(pool=pool, comments=_comments(described.file[-1]))

    @cached_property
    def events(self) -> list[Descriptor]:
        """The kinds of events, in the order of `Event`."""
        kinds = self.pool.FindMessageTypeByName(EVENT).oneofs_by_name["kind"].fields
        return [kind.message_type for kind in kinds]

    def fields(self, message: Descriptor) -> list[FieldDescriptor]:
        """Those that are part of the event, without what only transports add."""
        return [field for field in message.fields if not self.rule(field).transport]

    def is_required(self, field: FieldDescriptor) -> bool:
        """Whether it is always written."""
        if self.rule(field).defaulted:
            return not self.rule(field).omit_empty
        return is_repeated(field) or not field.has_presence

    def rule(self, field: FieldDescriptor) -> Any:
        """The field's `rule`, empty where none is given."""
        options = GetMessageClass(self.pool.FindMessageTypeByName("google.protobuf.FieldOptions"))
        known = options.FromString(field.GetOptions().SerializeToString())
        return known.Extensions[self.pool.FindExtensionByName(f"{PACKAGE}.rule")]

    def parts(self, message: Descriptor) -> list[Descriptor | EnumDescriptor]:
        """The messages and enums that `message` is made of, itself last, each after what it needs."""
        found: list[Descriptor | EnumDescriptor] = []
        for one in self.fields(message):
            of = value_of(one)
            if of.enum_type is not None:
                found.append(of.enum_type)
            elif of.message_type is not None and of.message_type.full_name != TIMESTAMP:
                found += self.parts(of.message_type)
        return list(dict.fromkeys([*found, message]))


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether it is a list or a map."""
    return bool(field.is_repeated)


def is_map(field: FieldDescriptor) -> bool:
    """Whether it is a map; all keys of the contract are strings."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def value_of(field: FieldDescriptor) -> FieldDescriptor:
    """The field that describes its values: that of a map's entries, else itself."""
    return field.message_type.fields_by_name["value"] if is_map(field) else field


def words(enum: EnumDescriptor) -> list[str]:
    """An enum's values as JSON has them: `STATUS_RESULT` of `Status` is `result`."""
    prefix = f"{enum.name}_".upper()
    return [value.name.removeprefix(prefix).lower() for value in enum.values if value.number != 0]


def _comments(file: Any) -> dict[str, str]:
    found = {}
    for location in file.source_code_info.location:
        match list(location.path):
            case [kind, i] if kind in {_MESSAGES, _ENUMS}:
                name = (file.message_type if kind == _MESSAGES else file.enum_type)[i].name
            case [4, i, 2, j]:
                name = f"{file.message_type[i].name}.{file.message_type[i].field[j].name}"
            case _:
                continue
        text = "\n".join(line.removeprefix(" ") for line in location.leading_comments.splitlines())
        found[f"{file.package}.{name}"] = text.strip()
    return found
