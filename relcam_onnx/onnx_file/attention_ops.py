"""Attention as one op, written in its pieces: ONNX's of opset 23, onnxruntime's Attention and MultiHeadAttention.

Forms that carry keys over from earlier runs, that share keys among heads or that look back only stay as they are.
"""

from __future__ import annotations

import onnx

from relcam_onnx.onnx_file.writing import Writer


def attention(w: Writer) -> None:
    """Attention, opset 23: queries, keys and values (N, heads, T, d), or (N, T, heads · d) with their heads named."""
    heads, others = w.attribute("q_num_heads", 0), w.attribute("kv_num_heads", 0)
    carried = any(w.input(index) for index in (4, 5, 6)) or any(w.node.output[1:])
    if carried or heads != others or w.attribute("is_causal", 0) or w.attribute("softcap", 0.0):
        w.keep()
        return
    q, k, v = (split_heads(w, w.input(i), heads) if heads else w.input(i) for i in range(3))
    attend(w, q, k, v, w.input(3), joined=bool(heads))


def multi_head(w: Writer) -> None:
    """MultiHeadAttention: queries, keys and values (N, T, heads · d), one bias for all three."""
    carried = any(w.input(index) for index in (4, 6, 7)) or any(w.node.output[1:])
    if carried or not (w.input(1) and w.input(2)) or w.attribute("unidirectional", 0):
        w.keep()
        return
    heads, parts = w.attribute("num_heads", 1), [w.input(i) for i in range(3)]
    if w.input(3):
        rows = w("Reshape", w.input(3), w.integers(3, -1))
        parts = [w("Add", part, w("Gather", rows, w.integer(i), axis=0)) for i, part in enumerate(parts)]
    q, k, v = (split_heads(w, part, heads) for part in parts)
    attend(w, q, k, v, w.input(5), joined=True)


def fused_attention(w: Writer) -> None:
    """Attention of onnxruntime's: one layer makes queries, keys and values."""
    carried = any(w.input(index) for index in (3, 4)) or any(w.node.output[1:])
    unlike = len(set(w.attribute("qkv_hidden_sizes", []))) > 1
    if carried or unlike or w.attribute("unidirectional", 0) or w.attribute("do_rotary", 0):
        w.keep()
        return
    dense = w("MatMul", w.input(0), w.input(1))
    if w.input(2):
        dense = w("Add", dense, w.input(2))
    apart = w("Reshape", dense, w.integers(0, 0, 3, w.attribute("num_heads", 1), -1))
    q, k, v = (w("Transpose", w("Gather", apart, w.integer(i), axis=2), perm=[0, 2, 1, 3]) for i in range(3))
    attend(w, q, k, v, w.input(5), joined=True)


def split_heads(w: Writer, x: str, heads: int) -> str:
    """(N, T, heads · d) to (N, heads, T, d)."""
    return w("Transpose", w("Reshape", x, w.integers(0, 0, heads, -1)), perm=[0, 2, 1, 3])


def attend(w: Writer, q: str, k: str, v: str, added: str, *, joined: bool) -> None:
    """softmax(scale · q kᵀ + added) v, heads put together again where they were apart."""
    scale = w.attribute("scale", 0.0)
    if scale:
        factor = w.constant(scale)
    else:
        width = w("Cast", w("Gather", w("Shape", q), w.integer(3), axis=0), to=onnx.TensorProto.FLOAT)
        root = w("Reciprocal", w("Sqrt", width))
        factor = w.like_first(root) if w.half else root
    scores = w("Mul", w("MatMul", q, w("Transpose", k, perm=[0, 1, 3, 2])), factor)
    if added:
        masked = added in w.truths
        scores = w("Where", added, scores, w.constant(float("-inf"))) if masked else w("Add", scores, added)
    mixed = w("MatMul", w("Softmax", scores, axis=-1), v, last=not joined)
    if joined:
        w("Reshape", w("Transpose", mixed, perm=[0, 2, 1, 3]), w.integers(0, 0, -1), last=True)
