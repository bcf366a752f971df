"""Which activations a walk reads: of many it has only the sizes, which the model tells."""

from __future__ import annotations

from relcam_onnx.backends.symbols import UnknownSizeError
from relcam_onnx.compiling.writer import Writer
from relcam_onnx.errors import RelcamError
from relcam_onnx.ops import Size
from relcam_onnx.prepare import Prepared


def unread(prepared: Prepared) -> dict[str, tuple[Size, ...]]:
    """The tensors of the file that the walk asks for and never reads, with their sizes, all told but the first.

    A compiled file does without them. There are none where the walk cannot be written down.
    """
    writer = Writer(prepared, single=True)
    try:
        written = writer.write()
    except (RelcamError, UnknownSizeError):
        return {}
    own = {name for node in prepared.model.proto.graph.node for name in node.output}
    read = {name for node in written.graph.node if not own.intersection(node.output) for name in node.input}
    asked = (name for name in prepared.maps.plan.exposed if name not in read and name in writer.tensors)
    sizes = {name: tuple(writer.tensors[name].shape or ()) for name in asked}
    return {name: told for name, told in sizes.items() if told and all(isinstance(n, int) and n >= 0 for n in told[1:])}
