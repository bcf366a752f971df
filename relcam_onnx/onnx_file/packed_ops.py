"""Products with weights of few bits, several to a byte, in standard ops.

Source: onnxruntime's ContribOperators.md, MatMulNBits.
"""

from __future__ import annotations

import onnx

from relcam_onnx.onnx_file.writing import Writer

AXES_AS_INPUT = 13
"""The opset from which on Unsqueeze has its axes as an input."""


def matmul_bits(w: Writer) -> None:
    """MatMulNBits: x · Wᵀ + bias, of W (N, K) each block of a row with a scale and what stands for 0.

    Zeros that are floats, and columns in another order (``g_idx``), stay as they are.
    """
    bits, block = w.attribute("bits", 4), w.attribute("block_size", 32)
    zeros = w.input(3)
    if 8 % bits or w.input(4) or w.opset < AXES_AS_INPUT or (zeros and w.node.input[3] not in w.packed):
        w.keep()
        return
    rows, columns = w.attribute("N", 0), w.attribute("K", 0)
    blocks = -(-columns // block)
    weights = w("Reshape", unpacked(w, w.input(1), bits), w.integers(rows, blocks, block))
    if zeros:
        flat = w("Reshape", unpacked(w, w("Reshape", zeros, w.integers(rows, -1)), bits), w.integers(rows, -1))
        told = w("Slice", flat, w.integers(0), w.integers(blocks), w.integers(1))
        zero = w("Reshape", told, w.integers(rows, blocks, 1))
    else:
        zero = w.constant(2.0 ** (bits - 1))
    scales = w("Reshape", w.input(2), w.integers(rows, blocks, 1))
    whole = w("Reshape", w("Mul", w("Sub", weights, zero), scales), w.integers(rows, blocks * block))
    told = w("Slice", whole, w.integers(0), w.integers(columns), w.integers(1))
    y = w("MatMul", w.input(0), w("Transpose", told, perm=[1, 0]), last=not w.input(5))
    if w.input(5):
        w("Add", y, w.input(5), last=True)


def unpacked(w: Writer, packed: str, bits: int) -> str:
    """The numbers of bytes, the lowest bits first, as floats on one more axis."""
    numbers = w("Cast", packed, to=onnx.TensorProto.INT32)
    base = w("Cast", w.integer(2**bits), to=onnx.TensorProto.INT32)
    parts = []
    for _ in range(8 // bits):
        parts.append(w("Unsqueeze", w("Mod", numbers, base), w.integers(-1)))
        numbers = w("Div", numbers, base)
    joined = w("Concat", *parts, axis=-1)
    return w("Cast", joined, to=onnx.TensorProto.FLOAT)
