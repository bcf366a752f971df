"""Load a model: a file, bytes or a ModelProto becomes a `Model`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError, EncodeError
from onnx_graphsurgeon.logger import G_LOGGER

from relcam_onnx.errors import ModelFileError, OptionError, nearest
from relcam_onnx.model import Model
from relcam_onnx.onnx_file.checks import check_structure, check_weights
from relcam_onnx.onnx_file.class_names import with_class_names
from relcam_onnx.onnx_file.contrib_ops import write_back
from relcam_onnx.onnx_file.external_data import load_external
from relcam_onnx.onnx_file.float_products import spell_out
from relcam_onnx.onnx_file.functions import inlined
from relcam_onnx.onnx_file.generated import rename_given
from relcam_onnx.onnx_file.module_paths import read_scopes
from relcam_onnx.onnx_file.opset import raise_opset, sized_skeleton
from relcam_onnx.onnx_file.protos import nodes
from relcam_onnx.onnx_file.rounded_weights import round_weights
from relcam_onnx.onnx_file.single import give_batch
from relcam_onnx.onnx_file.splitting import split
from relcam_onnx.onnx_file.weights import forget_unread, light, taken
from relcam_onnx.onnx_file.widening import widen
from relcam_onnx.onnx_file.zero_points import part_zero_points

Source = str | os.PathLike[str] | bytes | onnx.ModelProto

# What people hand over instead of a model: where it starts, with what, and what it is.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "a JPEG picture; give the model, then the picture"),
    (0, b"\x89PNG", "a PNG picture; give the model, then the picture"),
    (0, b"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint; export it with torch.onnx.export first"),
    (0, b"\x80\x02", "a pickle, such as an old PyTorch checkpoint; export it with torch.onnx.export first"),
    (0, b"\x89HDF", "an HDF5 file, such as a Keras model; convert it with tf2onnx first"),
    (4, b"TFL3", "a TensorFlow Lite model; convert it with tf2onnx first"),
    (4, b"ORTM", "onnxruntime's own format; give the .onnx file that it was made from"),
    (8, b'{"', "a safetensors file, weights without a network; export it with torch.onnx.export first"),
    (0, b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with 'git lfs pull'"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it first"),
    (0, b"<", "an HTML or XML page, as a failed download leaves it; download the file again"),
    (0, b"{", "a JSON text; give the .onnx file"),
)


def load(source: Source) -> Model:
    """Load a model for analysis.

    Parameters
    ----------
    source
        The path of an ONNX file, its bytes, or a ``ModelProto`` (which is left as it is). External data is
        read only from the file's own folder.

    Returns
    -------
    Model
        The model raised to opset 18 or newer, with all weights in memory, bfloat16 as float32, and shapes inferred
        where possible.
        Its graph holds the same nodes and tensor names as its proto, in topological order.

    Raises
    ------
    ModelFileError
        The source cannot be read, is no ONNX, is damaged, holds NaN or infinity among its weights, points to
        external data that is missing or out of reach, or has an opset that is unknown or cannot be raised.
    """
    if isinstance(source, onnx.ModelProto):
        origin = "the given ModelProto"
    elif isinstance(source, bytes):
        origin = f"the given {len(source)} bytes"
    elif isinstance(source, str | os.PathLike):
        origin = f"model {os.fspath(source)!r}"
    else:
        raise ModelFileError(f"a {type(source).__name__} is no model; give a path, bytes or an onnx.ModelProto")
    try:
        return _load(source)
    except ModelFileError as error:
        raise ModelFileError(f"{origin}: {error}") from error


def _load(source: Source) -> Model:
    path = None
    if isinstance(source, onnx.ModelProto):
        data = _serialize(source)
    elif isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        data = _read(path)
    with ThreadPoolExecutor(1) as beside:  # it takes about as long as all that follows, which uses one core
        digest = beside.submit(hashlib.sha256, data)
        proto, weights = _apart(data) if isinstance(source, onnx.ModelProto) else _parse(data)
        _tidy(proto)
        give_batch(proto)
        write_back(proto)
        check_structure(proto)
        external = load_external(proto, path.parent if path else None)
        check_weights(proto, weights)
        if proto.functions:
            proto = inlined(proto)
            write_back(proto)  # what stood in them
        weights = forget_unread(proto, round_weights(proto, weights))
        proto = light(proto, weights)
        widen(proto)
        part_zero_points(proto)
        rename_given(proto)
        metadata = with_class_names({entry.key: entry.value for entry in proto.metadata_props}, proto.graph)
        scopes = read_scopes(proto.graph, metadata)
        raise_opset(proto)
        if write_back(proto):  # what needs ops of the working opset
            raise_opset(proto)
        spell_out(proto)
        graph = _graph(proto, weights)
    digested = digest.result()
    digested.update(external)
    return Model(proto, weights, graph, metadata, scopes, digested.hexdigest(), path)


def pixels(model: Model, size: tuple[int, int]) -> dict[str, tuple[int | None, ...]]:
    """The sizes of the inputs behind the batch once pictures are ``size``, (height, width), wherever two are free.

    Raises
    ------
    OptionError
        No input has a free height and width, or ``size`` is no pair of positive numbers.
    """
    if not isinstance(size, Sequence) or len(size) != 2 or min(size) < 1:
        raise OptionError(f"size is (height, width) in pixels, both at least 1, not {size!r}")
    sizes = {}
    for value in model.proto.graph.input:
        dims = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim][1:]
        if dims.count(None) == 2:
            free = iter(size)
            sizes[value.name] = tuple(next(free) if d is None else d for d in dims)
    if not sizes:
        raise OptionError("size= fixes a free height and width, and no input of this model has them free: leave it out")
    return sizes


def with_sizes(model: Model, sizes: Mapping[str, Sequence[int | None]]) -> Model:
    """The same file, read anew for inputs of these sizes behind the batch; weights are shared."""
    graph = _graph(sized_skeleton(model.proto, sizes), model.weights)
    stored = {tensor.name: tensor for tensor in model.proto.graph.initializer}
    for tensor in graph.inputs:
        if tensor.name in stored:
            apart = model.weights.get(tensor.name)
            tensor.to_constant(gs.ir.tensor.LazyValues(stored[tensor.name]) if apart is None else apart)
    graph.inputs = [tensor for tensor in graph.inputs if tensor.name not in stored]
    return replace(model, graph=graph, replaced={}, folded={}, views={}, derived={}, scalings={}, rounded=set())


def _graph(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> gs.Graph:
    """Import a model and its large weights into onnx-graphsurgeon, whose log would go to the standard output."""
    try:
        with G_LOGGER.suppress(G_LOGGER.ERROR):
            graph = gs.import_onnx(proto)
    except KeyError as error:
        raise ModelFileError(f"a tensor is of the unknown type {error}; export the model again") from error
    for own in (graph, *graph.subgraphs(recursive=True)):  # a branch may read what nothing else does
        for tensor in own.tensors().values():
            if tensor.name in weights and isinstance(tensor, gs.Constant):
                tensor.values = weights[tensor.name]
    return graph


def _read(path: Path) -> bytes:
    """Read a file that should be a model."""
    if path.is_dir():
        inside = sorted(file.name for file in path.glob("*.onnx"))
        raise ModelFileError(f"is a folder; give a file in it, such as {inside[0] if inside else 'model.onnx'!r}")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        beside = [file.name for file in path.parent.glob("*.onnx")]
        raise ModelFileError(f"there is no such file{nearest(path.name, beside)}") from error
    except (OSError, ValueError) as error:
        raise ModelFileError(f"cannot be read ({error}); check the path and its permissions") from error


def _parse(data: bytes) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Parse ``data`` and take its large weights, or say what it seems to be instead."""
    if not data:
        raise ModelFileError("is empty; copy or export the file again")
    reason = None
    try:
        proto, weights = _apart(data)
    except (ValueError, DecodeError) as error:
        proto, weights, reason = onnx.ModelProto(), {}, error
    if reason or not proto.ir_version:  # any short text parses, into nothing
        kinds = (kind for start, magic, kind in _SIGNATURES if data.startswith(magic, start))
        seems = next(kinds, "a truncated ONNX file, or no ONNX at all; copy or export it again")
        raise ModelFileError(f"is no ONNX model; it seems to be {seems}") from reason
    return proto, weights


def _apart(data: bytes) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of these bytes, and its large weights."""
    short, apart = split(data)
    proto = onnx.ModelProto()
    proto.ParseFromString(short)
    return proto, taken(proto, apart)


def _serialize(proto: onnx.ModelProto) -> bytes:
    """Turn a model into bytes, the same ones each time."""
    try:
        data: bytes = proto.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise ModelFileError(f"cannot be serialized ({error}); keep it below 2 GiB") from error
    return data


def _tidy(proto: onnx.ModelProto) -> None:
    """Leave one spelling of the standard domain and one import of each, and only true inputs and outputs.

    Old files list initializers among the inputs; joined ones import twice what both had; outputs without a name at a
    node's end stand for none, and onnxruntime takes such a node for the same as one that has them.
    """
    for entry in (*proto.opset_import, *nodes(proto), *(e for f in proto.functions for e in f.opset_import)):
        if entry.domain == "ai.onnx":
            entry.domain = ""
    imports = {(entry.domain, entry.version) for entry in proto.opset_import}
    if len({domain for domain, _ in imports}) < len(imports):
        told = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in sorted(imports))
        raise ModelFileError(f"imports a domain in two versions ({told}); bring its parts to one opset and join again")
    del proto.opset_import[:]
    proto.opset_import.extend(onnx.helper.make_opsetid(*entry) for entry in sorted(imports))
    for node in nodes(proto):
        while len(node.output) > 1 and not node.output[-1]:
            del node.output[-1]
    stored = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in stored]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
