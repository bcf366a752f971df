"""Damaged ONNX files: each follows from a seed file and a number alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

NUMBERS = (0, 1, -1, 2, 3, 7, 99, 2**15, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63))
TEXTS = ("", "x", "Conv", "Relu", "Loop", "ai.onnx.ml", "../w", "\0", "é" * 40, "a" * 5000)
FLOATS = (0.0, -1.0, 1e-45, 3e38, float("inf"), float("nan"))
WHOLE = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_ENUM}


def mutant(data: bytes, number: int) -> bytes:
    """A file with one to four faults, half of the files in their bytes, half in their fields."""
    rng = random.Random(number)
    faults = rng.choice((1, 1, 2, 4))
    if rng.random() < 0.5:
        for _ in range(faults):
            data = rng.choice(BYTES)(data, rng)
        return data
    proto = onnx.ModelProto.FromString(data)
    for _ in range(faults):
        with suppress(ValueError):  # a number that this enumeration does not have
            change_field(proto, rng)
    return proto.SerializeToString()


def flip(data: bytes, rng: random.Random) -> bytes:
    """One bit the other way."""
    place = rng.randrange(len(data) or 1)
    return data[:place] + bytes(byte ^ 1 << rng.randrange(8) for byte in data[place : place + 1]) + data[place + 1 :]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """Noise in place of up to 16 bytes."""
    place, noise = rng.randrange(len(data) or 1), rng.randbytes(rng.randint(1, 16))
    return data[:place] + noise + data[place + len(noise) :]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Noise, or a piece of the file once more, between two bytes."""
    place, start = rng.randrange(len(data) or 1), rng.randrange(len(data) or 1)
    more = rng.choice((rng.randbytes(rng.randint(1, 16)), data[start : start + rng.randint(1, 400)]))
    return data[:place] + more + data[place:]


def leave_out(data: bytes, rng: random.Random) -> bytes:
    """A piece fewer, or all from there on."""
    place = rng.randrange(len(data) or 1)
    return data[:place] + (b"" if rng.random() < 0.3 else data[place + rng.randint(1, 64) :])


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, overwrite, insert, leave_out)


def change_field(proto: Message, rng: random.Random) -> None:
    """Set, empty, repeat, drop, move or swap one field of any message in a file."""
    message = rng.choice(list(messages(proto)))
    fields = [field for field, _ in message.ListFields()]
    if not fields or rng.random() < 0.1:
        fields = list(message.DESCRIPTOR.fields)
    field = rng.choice(fields)
    if rng.random() < 0.15:
        message.ClearField(field.name)
    elif repeated(field):
        change_list(getattr(message, field.name), field, rng)
    elif field.message_type is None:
        setattr(message, field.name, value(field, getattr(message, field.name), proto, rng))
    else:
        alike = [other for other in messages(proto) if other.DESCRIPTOR is field.message_type]
        if alike:
            copied = type(alike[0])()
            copied.CopyFrom(rng.choice(alike))
            getattr(message, field.name).CopyFrom(copied)


def change_list(values: Any, field: FieldDescriptor, rng: random.Random) -> None:
    """Drop, repeat, swap or set one of several values."""
    kept = list(values)
    place, kind = rng.randrange(len(kept) or 1), rng.choice(("drop", "repeat", "swap", "set"))
    if not kept or kind == "repeat":
        kept += kept[place : place + 1] or ([] if field.message_type else [value(field, None, None, rng)])
    elif kind == "drop":
        del kept[place]
    elif kind == "swap":
        other = rng.randrange(len(kept))
        kept[place], kept[other] = kept[other], kept[place]
    elif field.message_type is None:
        kept[place] = value(field, kept[place], None, rng)
    if field.message_type is not None:
        copies = [type(entry)() for entry in kept]
        for copied, entry in zip(copies, kept, strict=True):
            copied.CopyFrom(entry)
        kept = copies
    del values[:]
    values.extend(kept)


def value(field: FieldDescriptor, old: Any, proto: Message | None, rng: random.Random) -> Any:
    """Another value of a field's kind: an odd one, one nearby, or a name that the file has elsewhere."""
    if field.cpp_type in WHOLE:
        new = rng.choice((*NUMBERS, (old or 0) + 1, (old or 0) - 1, rng.randint(0, 30)))
        bits = 63 if field.cpp_type == FieldDescriptor.CPPTYPE_INT64 else 31
        return max(-(2**bits), min(2**bits - 1, new))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice(BYTES)(old or b"\0\0\0\0", rng)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        others = [
            text for node in getattr(proto, "graph", onnx.GraphProto()).node for text in (*node.input, node.op_type)
        ]
        return rng.choice((*TEXTS, *others))
    if field.cpp_type == FieldDescriptor.CPPTYPE_UINT64:
        return abs(rng.choice(NUMBERS))
    return rng.choice(FLOATS)


def messages(message: Message) -> Iterator[Message]:
    """A message and all within it."""
    yield message
    for field, inner in message.ListFields():
        if field.message_type is not None:
            for each in inner if repeated(field) else [inner]:
                yield from messages(each)


def repeated(field: FieldDescriptor) -> bool:
    """Whether a field holds several values."""
    return bool(getattr(field, "is_repeated", None) or getattr(field, "label", None) == 3)
