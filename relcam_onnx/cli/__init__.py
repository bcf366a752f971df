"""The command line, ``relcam``: thin commands over the same calls that Python has."""

import gc

from relcam_onnx.cli.batch_command import app
from relcam_onnx.cli.console import speaking

__all__ = ["app", "main"]


def main() -> None:
    """Run ``relcam``; the process ends with 0 (all done), 1 (some inputs failed) or 2 (nothing could be done)."""
    # A graph is a hundred thousand small objects that stay to the end. Python's collector would look through them again
    # and again, and once more before the process ends: a tenth of the time that one picture takes.
    gc.set_threshold(100_000, 50, 50)
    try:
        with speaking():
            app()
    finally:
        gc.freeze()
