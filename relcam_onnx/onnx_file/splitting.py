"""A model's bytes apart from its large weights: what is parsed is small, and each weight is copied once.

A message of protocol buffers is a row of fields: a number, a kind, and a value whose length follows from the kind or is
told. So it takes no schema to step over what is not wanted, and little of one to find the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import onnx

from relcam_onnx.onnx_file.weights import LARGE

GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
RAW_DATA = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
SIZES = {1: 8, 5: 4}
"""Bytes of the kinds of a fixed length."""
VARINT, TOLD = 0, 2
"""The other kinds: a number that says itself where it ends, and what has its length before it."""


class Span(NamedTuple):
    """A field: its number, and where it starts, its value starts, and both end."""

    number: int
    start: int
    value: int
    end: int


def split(data: bytes) -> tuple[bytes, dict[int, memoryview]]:
    """A model's message without large weights, and those by their place among the initializers.

    Raises
    ------
    ValueError
        The bytes are no message.
    """
    weights: dict[int, memoryview] = {}
    seen = memoryview(data)
    parts: list[bytes | memoryview] = []
    count = 0
    for field in fields(data, 0, len(data)):
        if field.number != GRAPH:
            parts.append(seen[field.start : field.end])
            continue
        inside: list[bytes | memoryview] = []
        for inner in fields(data, field.value, field.end):
            if inner.number != INITIALIZER or inner.end - inner.value < LARGE:
                inside.append(seen[inner.start : inner.end])
            else:
                tensor = list(fields(data, inner.value, inner.end))
                for raw in (f for f in tensor if f.number == RAW_DATA):
                    weights[count] = seen[raw.value : raw.end]
                rest = b"".join(seen[f.start : f.end] for f in tensor if f.number != RAW_DATA)
                inside.append(told(INITIALIZER, rest))
            count += inner.number == INITIALIZER
        parts.append(told(GRAPH, b"".join(inside)))
    return b"".join(parts), weights


def fields(data: bytes, start: int, end: int) -> Iterator[Span]:
    """The fields of a message in order."""
    while start < end:
        key, value = varint(data, start)
        kind = key & 7
        if kind == VARINT:
            _, stop = varint(data, value)
        elif kind == TOLD:
            size, value = varint(data, value)
            stop = value + size
        elif kind in SIZES:
            stop = value + SIZES[kind]
        else:
            raise ValueError("no message")
        if stop > end:
            raise ValueError("a message that is cut off")
        yield Span(key >> 3, start, value, stop)
        start = stop


def varint(data: bytes, start: int) -> tuple[int, int]:
    """A number in steps of seven bits, the lowest first, and where it ends."""
    number = shift = 0
    for place in range(start, min(start + 10, len(data))):
        number |= (data[place] & 127) << shift
        if data[place] < 128:
            return number, place + 1
        shift += 7
    raise ValueError("a number without an end")


def told(number: int, value: bytes) -> bytes:
    """A field with its length before it."""
    head = bytearray()
    for left in (number << 3 | TOLD, len(value)):
        rest = left
        while rest > 127:
            head.append(rest & 127 | 128)
            rest >>= 7
        head.append(rest)
    return bytes(head) + value
