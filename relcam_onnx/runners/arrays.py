"""The arrays that a caller brings, held against what the model takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import onnx_graphsurgeon as gs
from onnx.helper import tensor_dtype_to_np_dtype
from onnxruntime import OrtValue

from relcam_onnx.analysis.frames import ONE, Rows
from relcam_onnx.analysis.scores import shape_text
from relcam_onnx.errors import InputError, UnsupportedModelError
from relcam_onnx.model import static_shape
from relcam_onnx.runners import Sizes


class Rowed(Protocol):
    """Has a row for each image."""

    def __getitem__(self, rows: slice, /) -> Self: ...


T = TypeVar("T", bound=Rowed)


def check_inputs(inputs: list[gs.Tensor], x: Any, shared: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What was given as name -> array, every input there once, of its dtype and shape, finite, of one batch size.

    Inputs that nothing reads may be left out, and are here: `fillers` stand for them.

    Parameters
    ----------
    inputs
        The model's inputs.
    x
        An array for a model with one input, else a dict name -> array.
    shared
        Inputs that have a batch of their own.

    Raises
    ------
    InputError
        Naming the input, what was given and what the model takes.
    """
    names = [t.name for t in inputs]
    read = [t.name for t in inputs if is_read(t)]
    if not isinstance(x, Mapping):
        if len(read) != 1:
            raise InputError(
                f"this model has {len(read)} inputs: give a dict with an array for each of {', '.join(read)}"
            )
        x = {read[0]: x}
    if unknown := sorted(set(x) - set(names)):
        raise InputError(f"no input is called {', '.join(map(repr, unknown))}; the model takes {', '.join(names)}")
    if missing := [name for name in read if name not in x]:
        raise InputError(f"input {', '.join(map(repr, missing))} is missing; the model takes {', '.join(read)}")
    arrays = {t.name: check_array(t, x[t.name]) for t in inputs if t.name in read}
    sizes = {name: shape_of(array)[0] for name, array in arrays.items() if shape_of(array) and name not in shared}
    if len(set(sizes.values())) > 1:
        raise InputError(f"the inputs differ in batch size: {sizes}")
    return arrays


def is_read(tensor: gs.Tensor) -> bool:
    """Whether anything in the model reads an input."""
    return bool(tensor.outputs)


def fillers(inputs: list[gs.Tensor], images: int) -> dict[str, np.ndarray]:
    """Zeros for the inputs that nothing reads: onnxruntime wants them all the same."""
    unread = [t for t in inputs if not is_read(t)]
    sizes = [[n or (1 if axis else images) for axis, n in enumerate(static_shape(t) or ())] for t in unread]
    return {t.name: np.zeros(shape, t.dtype or np.float32) for t, shape in zip(unread, sizes, strict=True)}


def shape_of(array: Any) -> tuple[int, ...]:
    """The shape of an array, or of a tensor of onnxruntime's."""
    return tuple(array.shape() if isinstance(array, OrtValue) else array.shape)


def sizes_of(arrays: Mapping[str, Any]) -> Sizes:
    """Each input with its sizes behind the batch."""
    return tuple((name, shape_of(array)[1:]) for name, array in arrays.items())


def batch_of(arrays: Mapping[str, Any], rows: Rows = ONE) -> int:
    """How many images there are, or clips; inputs of one number for all have no say.

    Raises
    ------
    InputError
        Frames are left over.
    """
    count = next(shape[0] for name, a in arrays.items() if (shape := shape_of(a)) and name not in rows.shared)
    if count % rows.frames:
        raise InputError(f"the model takes clips of {rows.frames} frames, and {count} frames are no whole clips")
    return count // rows.frames


def on_host(array: Any) -> np.ndarray:
    """An array as it is; a tensor of onnxruntime's copied from its device."""
    host: np.ndarray = array.numpy() if isinstance(array, OrtValue) else array
    return host


def as_array(value: Any) -> Any:
    """What a caller brings as an array, or as onnxruntime's tensor where it lies on a device that NumPy cannot read."""
    if getattr(value, "requires_grad", False) and hasattr(value, "detach"):
        value = value.detach()  # PyTorch shares no tensor that it keeps a history of
    if isinstance(value, OrtValue | np.ndarray) or not hasattr(value, "__dlpack_device__"):
        return value if isinstance(value, OrtValue) else in_our_order(np.asarray(value))
    cpu = 1  # DLPack's number for main memory
    return np.from_dlpack(value) if value.__dlpack_device__()[0] == cpu else OrtValue.from_dlpack(value.__dlpack__())


def in_our_order(array: np.ndarray) -> np.ndarray:
    """The same array with bytes in this machine's order, as files of other machines and formats have not."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def unread(what: str, value: Any, error: Exception) -> InputError:
    """What is said of something that is no array: of lists of several lengths, and of tensors that are nowhere."""
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return InputError(
        f"{what} cannot be read as an array ({type(value).__name__}: {reason}); give a dense one that holds values, of "
        "a type that NumPy has, such as x.float() for bfloat16"
    )


def check_array(tensor: gs.Tensor, value: Any) -> Any:
    """One input's array; a file for one image may be given it without the axis of the batch."""
    try:
        array, wanted = as_array(value), static_shape(tensor)
    except Exception as error:  # libraries of arrays raise almost anything where they have none to share
        raise unread(f"input {tensor.name!r}", value, error) from error
    if isinstance(array, np.ndarray) and wanted is not None and wanted[:1] == (1,) and array.ndim == len(wanted) - 1:
        array = array[None]
    dtype, given_shape = dtype_of(array), shape_of(array)
    takes = f"{np.dtype(tensor.dtype).name} {shape_text(tensor)}" if tensor.dtype is not None else shape_text(tensor)
    message = f"input {tensor.name!r} is {dtype.name} {given_shape}, the model takes {takes}"
    if tensor.dtype is not None and dtype != tensor.dtype:
        raise InputError(f"{message}: convert it with .astype({np.dtype(tensor.dtype).name!r})")
    shape = static_shape(tensor)
    # The leading axis is the batch: a fixed one is filled up by the engine.
    if shape is not None and (
        len(given_shape) != len(shape)
        or any(want is not None and want != got for want, got in zip(shape[1:], given_shape[1:], strict=True))
    ):
        hint = "; add the batch axis: x[None]" if len(given_shape) == len(shape) - 1 else ""
        raise InputError(f"{message}{hint}")
    if 0 in given_shape:
        raise InputError(f"{message}: it is empty")
    # What lies on a device stays there: looking for NaN would copy it.
    if isinstance(array, np.ndarray) and np.issubdtype(dtype, np.floating) and not np.isfinite(array).all():
        raise InputError(f"input {tensor.name!r} holds NaN or infinite values")
    return array


def dtype_of(array: Any) -> np.dtype[Any]:
    """The element type of an array, or of a tensor of onnxruntime's."""
    if isinstance(array, OrtValue):
        return tensor_dtype_to_np_dtype(array.element_type())
    dtype: np.dtype[Any] = array.dtype
    return dtype


def pieces(
    arrays: Mapping[str, Any], size: int | None, *, fixed: bool, rows: Rows = ONE
) -> Iterator[tuple[slice, dict[str, Any]]]:
    """The batch in pieces of ``size`` images, each with its place; ``fixed`` fills up the last with its last image.

    Rows of one image stay together.
    """
    total = batch_of(arrays, rows)
    step = size or total
    if step == total or (step > total and not fixed):
        yield slice(0, total), dict(arrays)
        return
    hosted = {name: on_host(array) for name, array in arrays.items()}
    for start in range(0, total, step):
        place = slice(start, min(start + step, total))
        piece = rows_of(hosted, place, rows)
        if short := (step - (place.stop - place.start)) * rows.frames if fixed else 0:
            piece = {n: filled(a, short) if a.ndim and n not in rows.shared else a for n, a in piece.items()}
        yield place, piece


def check_maps(maps: Mapping[str, np.ndarray], images: int, frames: int) -> None:
    """There is one for each image, or for each of its frames.

    Raises
    ------
    UnsupportedModelError
        A layer has more.
    """
    for name, value in maps.items():
        if len(value) not in (images, images * frames):
            raise UnsupportedModelError(
                f"layer {name!r} has {len(value)} maps for {images} images: the model folds parts of one into the "
                "batch there, which is not supported; name layers outside of that part, such as 'input'"
            )


def at(values: T | None, rows: slice) -> T | None:
    """Some rows of what may be nothing."""
    return None if values is None else values[rows]


def rows_of(arrays: Mapping[str, Any], place: slice, rows: Rows = ONE) -> dict[str, Any]:
    """Some images of each input."""
    span = slice(place.start * rows.frames, place.stop * rows.frames)
    hosts = {name: on_host(value) for name, value in arrays.items()}
    return {name: host[span] if host.ndim and name not in rows.shared else host for name, host in hosts.items()}


def filled(rows: np.ndarray, more: int) -> np.ndarray:
    """Rows, the last one repeated ``more`` times."""
    return np.concatenate([rows, np.repeat(rows[-1:], more, axis=0)]) if more else rows
