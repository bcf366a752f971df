"""Convolutions over every second position, and the next ones, side by side in the batch, are dilated ones.

TensorFlow's graphs have them so: SpaceToBatch, a convolution, BatchToSpace, each of which exporters spell as moves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.cut import pieces, places
from relcam_onnx.canon.edit import detach, fold, is_op, only_reader, sweep
from relcam_onnx.canon.moving import transposed, turned
from relcam_onnx.canon.places import MOVING, traced
from relcam_onnx.model import Model, static_shape, variables

FIRST = [0, 3, 1, 2]
"""Channels put first again."""


def name_dilated(model: Model) -> None:
    """Write each such convolution, of one image, as the dilated one that it is."""
    order = places(model.graph)
    for node in list(model.graph.nodes):
        if is_op(node, "Conv") and is_plain(node) and (static_shape(node.inputs[0]) or (1,))[0] != 1:
            name_one(model, node, order)
    sweep(model)


def is_plain(node: gs.Node) -> bool:
    """Whether a convolution of two axes reads windows without gaps, one at each position, and no padding."""
    ones = (node.attrs.get(name) or [1] for name in ("strides", "dilations"))
    unpadded = node.attrs.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") and not any(node.attrs.get("pads") or ())
    return unpadded and all(set(values) == {1} for values in ones) and len(node.inputs[0].shape or ()) == 4


def name_one(model: Model, node: gs.Node, order: dict[str, int]) -> None:
    """Rewrite one, where the moves before it part the positions of an image and those behind it put them together."""
    for piece in pieces(node.inputs[0], order, MOVING):
        came = traced(piece.source, piece.nodes) if (piece.source.shape or (0,))[0] == 1 else None
        found = None if came is None else apart(piece.source, came)
        for chain in behind(model, node) if found is not None else ():
            went = traced(node.outputs[0], chain) if (chain[-1].outputs[0].shape or (0,))[0] == 1 else None
            after = None if went is None or found is None else together(node.outputs[0], went, found[1])
            if found is not None and after is not None:
                put(model, node, piece.source, chain, found[1], before=found[0], after=after)
                return


def apart(source: gs.Tensor, came: np.ndarray) -> tuple[bool, tuple[int, int]] | None:
    """Whether a source that was parted has its channels last, and how far apart its positions are there; else None."""
    if len(source.shape) != 4 or came.ndim != 4:
        return None
    for last in (False, True):
        own = np.arange(came.size).reshape(source.shape)
        own = own.transpose(FIRST) if last else own
        (_, channels, height, width), (count, *small) = own.shape, came.shape
        if channels != small[0] or height % small[1] or width % small[2]:
            continue
        steps = (height // small[1], width // small[2])
        if count == steps[0] * steps[1] > 1 and np.array_equal(came, parted(own, steps)):
            return last, steps
    return None


def parted(own: np.ndarray, steps: tuple[int, int]) -> np.ndarray:
    """The positions of one image (1, C, H, W) that are so far apart, image by image, as SpaceToBatch orders them."""
    return np.concatenate([own[:, :, row :: steps[0], column :: steps[1]] for row, column in np.ndindex(*steps)])


def behind(model: Model, node: gs.Node) -> Iterator[list[gs.Node]]:
    """The chains of moves that begin at what a node makes and are read by nothing else."""
    chain: list[gs.Node] = []
    reader = only_reader(model, node.outputs[0])
    while reader is not None and is_op(reader, *MOVING) and len(list(variables(reader))) == 1:
        chain.append(reader)
        yield chain
        reader = only_reader(model, reader.outputs[0])


def together(made: gs.Tensor, went: np.ndarray, steps: tuple[int, int]) -> bool | None:
    """Whether parted images that were put together have their channels last; None where they were not."""
    if went.ndim != 4 or len(made.shape or ()) != 4:
        return None
    for last in (False, True):
        whole = went.transpose(FIRST) if last else went
        if np.array_equal(parted(whole, steps), np.arange(went.size).reshape(made.shape)):
            return last
    return None


def put(
    model: Model, node: gs.Node, source: gs.Tensor, chain: list[gs.Node], steps: tuple[int, int], *, before: bool,
    after: bool,
) -> None:  # fmt: skip
    """Let a convolution make what the chain behind it ends in, of a source; either may have its channels last."""
    result = chain[-1].outputs[0]
    fold(model, node.outputs[0], result)
    for move in chain:
        detach(move)
    node.inputs[0] = turned(model, source, FIRST, f"{result.name}/turned") if before else source
    node.attrs = {**node.attrs, "dilations": list(steps)}
    node.outputs[0] = transposed(model, result, FIRST, f"{result.name}/map") if after else result
    if after:
        model.graph.nodes.append(gs.Node("Transpose", result.name, {"perm": [0, 2, 3, 1]}, node.outputs, [result]))
