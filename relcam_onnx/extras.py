"""What only some uses need is installed, or it is said how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from relcam_onnx.errors import OptionError


def require(what: str, extra: str, *modules: str) -> None:
    """Raise `OptionError` unless the modules of an extra are installed; ``what`` needs them."""
    if missing := [name for name in modules if find_spec(name) is None]:
        raise OptionError(f"{what} {' and '.join(missing)}: pip install 'relcam-onnx[{extra}]'")


@contextmanager
def with_runtime() -> Iterator[None]:
    """For what imports onnxruntime, of which two extras bring one each: `OptionError` where neither is installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise OptionError(
            'this needs onnxruntime: pip install "relcam-onnx[cpu]", or "relcam-onnx[gpu]" for NVIDIA\'s GPUs'
        ) from error
