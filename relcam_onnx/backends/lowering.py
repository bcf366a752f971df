"""The adjoint of a convolution in the nodes that onnxruntime runs fastest.

Its ConvTranspose is a plain matrix product followed by a scatter, and knows no blocked layout. At stride one the
adjoint is a convolution with the kernel turned around. At stride s each of the s positions that fall between two
outputs sees its own part of the kernel: a convolution for each such phase, and the phases interleaved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any, TypeAlias

from relcam_onnx.backends.symbols import Symbol
from relcam_onnx.ops.backend import Size

Recorder: TypeAlias = Any


def conv_adjoint(
    f: Recorder,
    s: Symbol,
    w: Any,
    *,
    size: Sequence[Size],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[Size],
    group: int,
) -> Any:
    """The transposed map of Conv with these attributes, for inputs of ``size`` positions."""
    fixed, around = [n for n in size if isinstance(n, int)], [n for n in pads if isinstance(n, int)]
    rank = len(size)
    if len(fixed) == rank and len(around) == 2 * rank:
        reach = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)] * 2
        turned = [r - p for r, p in zip(reach, around, strict=True)]
        if all(step == 1 for step in strides) and min(turned) >= 0:
            return f.Conv(s, turn(f, w, kernel, group), pads=turned, dilations=list(dilations), group=group)
        plain = rank == 2 and all(d == 1 for d in dilations)
        if plain and strides[0] == strides[1]:
            return interleave(f, s, w, fixed, kernel, strides[0], around, group)
    return grown(f, s, w, size, kernel, strides, dilations, pads, group)


def turn(f: Recorder, w: Any, kernel: Sequence[int], group: int) -> Any:
    """(O, I / g, ...) -> (I, O / g, ...), the positions reversed: the weights of the transposed convolution."""
    outputs, inputs = f.dims(w)[:2]
    rank = len(kernel)
    if group == 1:
        swapped = f.Transpose(w, perm=[1, 0, *range(2, 2 + rank)])
    elif group == outputs and inputs == 1:
        swapped = w
    else:
        apart = f.Reshape(w, [group, outputs // group, inputs, *kernel])
        across = f.Transpose(apart, perm=[0, 2, 1, *range(3, 3 + rank)])
        swapped = f.Reshape(across, [group * inputs, outputs // group, *kernel])
    wide = [axis for axis, k in enumerate(kernel) if k > 1]
    if not wide:
        return swapped
    return f.Slice(swapped, [-1] * len(wide), [-(2**31)] * len(wide), [axis + 2 for axis in wide], [-1] * len(wide))


def interleave(
    f: Recorder,
    s: Symbol,
    w: Any,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: int,
    pads: Sequence[int],
    group: int,
) -> Any:
    """The stride-s case: position s·q + r of the input is reached by the taps t with t ≡ r + pad (mod s)."""
    counts = [-(-n // stride) for n in size]
    out = [(n + pads[i] + pads[i + 2] - k) // stride + 1 for i, (n, k) in enumerate(zip(size, kernel, strict=True))]
    turned_channels = f.dims(w)[1] * group
    phases: dict[tuple[int, ...], Any] = {}
    for place in product(range(stride), repeat=2):
        first = [(r + pads[i]) % stride for i, r in enumerate(place)]
        taps = [len(range(t, k, stride)) for t, k in zip(first, kernel, strict=True)]
        if not all(taps):
            phases[place] = None
            continue
        part = f.Slice(w, first, list(kernel), [2, 3], [stride, stride]) if stride > 1 else w
        shift = [(r + pads[i] - first[i]) // stride for i, r in enumerate(place)]
        begin = [m - 1 - c for m, c in zip(taps, shift, strict=True)]
        end = [q - 1 + c - (o - 1) for q, c, o in zip(counts, shift, out, strict=True)]
        source = s
        if min(*begin, *end) < 0:
            cut = [min(p, 0) for p in (*begin, *end)]
            source = f.Pad(s, [0, 0, *cut[:2], 0, 0, *cut[2:]])
        around = [max(p, 0) for p in (*begin, *end)]
        phases[place] = f.Conv(source, turn(f, part_dims(f, part, w, taps), taps, group), pads=around, group=group)
    whole = next(p for p in phases.values() if p is not None)
    rows = []
    for vertical in range(stride):
        columns = [
            f.Unsqueeze(p if (p := phases[vertical, horizontal]) is not None else whole * 0.0, [4])
            for horizontal in range(stride)
        ]
        line = f.Concat(*columns, axis=4)
        rows.append(f.Reshape(line, [0, turned_channels, counts[0], 1, counts[1] * stride]))
    stacked = f.Reshape(f.Concat(*rows, axis=3), [0, turned_channels, counts[0] * stride, counts[1] * stride])
    if [c * stride for c in counts] == list(size):
        return stacked
    return f.Slice(stacked, [0, 0], list(size), [2, 3])


def part_dims(f: Recorder, part: Any, w: Any, taps: Sequence[int]) -> Any:
    """A slice of a weight, with its sizes told."""
    if isinstance(part, Symbol) and part.dims is None:
        return replace(part, dims=(*f.dims(w)[:2], *taps), constant=False)
    return part


def grown(
    f: Recorder,
    s: Symbol,
    w: Any,
    size: Sequence[Size],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[Size],
    group: int,
) -> Any:
    """ConvTranspose without padding, then cut (or grown) to the size: any stride, and sizes that only a run knows."""
    rank = len(size)
    full = f.ConvTranspose(s, w, strides=list(strides), dilations=list(dilations), group=group)
    if all(k == 1 for k in kernel) and all(step == 1 for step in strides) and not any(pads):
        return full
    starts = list(pads[:rank])
    missing = [
        (n + pads[i] + pads[i + rank] - d * (k - 1) - 1) % stride - pads[i + rank]
        for i, (n, k, stride, d) in enumerate(zip(size, kernel, strides, dilations, strict=True))
    ]
    return f.Pad(full, [0, 0, *[-p for p in starts], 0, 0, *missing])
