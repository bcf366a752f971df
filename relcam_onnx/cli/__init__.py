"""The command line, ``relcam``: thin commands over the same calls that Python has."""

from relcam_onnx.cli.commands import app

__all__ = ["app", "main"]


def main() -> None:
    """Run ``relcam``; the process ends with 0 (all done), 1 (some inputs failed) or 2 (nothing could be done)."""
    app()
