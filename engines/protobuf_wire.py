"""Reads and writes protobuf's wire format, as far as looking into an ONNX file needs it.

Source: the protobuf encoding guide.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

_VARINT_BITS = 64
_KEY_BITS = 32
_BYTES = 2

Value: TypeAlias = int | memoryview


class Field(NamedTuple):
    """One field of a message: its value is a number, or the bytes of a string or a message, not copied.

    `whole` is the field as it stands in the file, key and length included.
    """

    number: int
    value: Value
    whole: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """Yield each field; ValueError or IndexError where the bytes are no message."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        if key >> _KEY_BITS:
            raise ValueError("a key of more than 32 bits, of which parsers would drop some")
        match key & 7:
            case 0:
                number, at = _varint(message, at)
                yield Field(key >> 3, number, message[start:at])
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case _:
                raise ValueError("unknown wire type")
        if at + size > len(message):
            raise ValueError("truncated")
        yield Field(key >> 3, message[at : at + size], message[start : at + size])
        at += size


def values(message: memoryview) -> dict[int, Value]:
    """Return each field's last value: what a parser keeps of a field that should stand once."""
    return {field.number: field.value for field in fields(message)}


def message_in(value: Value) -> memoryview:
    """Return the bytes of a field that must hold some."""
    if isinstance(value, int):
        raise TypeError("a number where a message should be")
    return value


def text_in(value: Value) -> str:
    """Return the text of a field; what is not UTF-8 is replaced."""
    return bytes(message_in(value)).decode("utf-8", errors="replace")


def enum_in(value: Value | None) -> int:
    """Return an enumeration's number as parsers do: the low 32 bits; 0 where it is absent or no number."""
    return value & (2**32 - 1) if isinstance(value, int) else 0


def bytes_field(number: int, content: bytes | memoryview) -> list[bytes | memoryview]:
    """Return the parts of a field of bytes, to be joined."""
    return [_encoded(number << 3 | _BYTES), _encoded(len(content)), content]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the base-128 number that starts at `at`, and where it ends."""
    value = 0
    for shift in range(0, _VARINT_BITS + 6, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follow
            return value, at
    raise ValueError("number too long")


def _encoded(value: int) -> bytes:
    """Return the number in base 128, low digits first."""
    digits = bytearray()
    while value >= 0x80:  # noqa: PLR2004 - as above
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
