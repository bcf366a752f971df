"""What ``relcam web`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relcam_onnx.cli.compiling import check_other
from relcam_onnx.cli.console import tell
from relcam_onnx.web.site import make_site


def publish(model: Path, out: Path, options: dict[str, Any]) -> None:
    """Write a site and tell how large it is and how it is served.

    Parameters
    ----------
    model, out
        As on the command line.
    options
        Of `make_site`.

    Raises
    ------
    RelcamError
        The model or an option is at fault, the runtime cannot be had, or the folder cannot be written.
    """
    check_other(model, out)
    files = make_site(model, out, **options)
    size = sum(file.stat().st_size for file in files) / 1e6
    tell(f"{out}: {len(files)} files, {size:.1f} MB; any web server does, such as")
    tell(f"  python -m http.server --bind localhost --directory {out}")
