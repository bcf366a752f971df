"""A site made of a model: the page, the runtime, the compiled file and what the page is told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from relcam_onnx.compiling.compile import compile_prepared
from relcam_onnx.errors import OptionError
from relcam_onnx.explainer import Explainer
from relcam_onnx.explaining import PictureExplainer
from relcam_onnx.files import cannot_write, make_folder, whole
from relcam_onnx.lrp.methods import METHODS, Probe
from relcam_onnx.lrp.seeds import GIVEN
from relcam_onnx.model import static_shape
from relcam_onnx.onnx_file.store import message
from relcam_onnx.pictures.conventions import Option
from relcam_onnx.pictures.facts import Labels
from relcam_onnx.pictures.preprocess import Preprocess
from relcam_onnx.prepare import Prepared
from relcam_onnx.web.description import check_head, describe, inside
from relcam_onnx.web.runtime import runtime_files

MODEL, DESCRIPTION, RUNTIME = "model.onnx", "model.json", "runtime"
NOTICES = "LICENSES-third-parties.txt"


def make_site(
    model: str | PathLike[str] | bytes | onnx.ModelProto,
    out: str | PathLike[str],
    layers: str | Sequence[str] | None = None,
    method: str | None = None,
    preset: str | None = None,
    seed: str | None = None,
    output: str | None = None,
    size: tuple[int, int] | None = None,
    *,
    head: str | None = None,
    preprocess: Option | None = None,
    labels: Labels | None = None,
    runtime: str | PathLike[str] | None = None,
    webgpu: bool = False,
    title: str | None = None,
) -> list[Path]:
    """Write a static page that explains pictures in the browser.

    Parameters
    ----------
    model, layers, method, preset, seed, output, head, preprocess, labels
        As in `Explainer`.
    out
        The folder of the site; files of a site that stands there are replaced.
    size
        Height and width of the model's input, where the file leaves them open; None: what the preprocessing says.
    runtime
        A folder with an unpacked onnxruntime-web; None: it is downloaded from npm's registry, once.
    webgpu
        Add the runtime that computes on the GPU where the browser lets it: 17 MB, loaded instead of the other one.
    title
        What the page calls the model; None: the file's name.

    Returns
    -------
    list of Path
        The site's files.

    Raises
    ------
    RelcamError
        As `Explainer`; `OptionError` also for what the page cannot ask of a model, a runtime that is not to be had, and
        a folder that cannot be written.
    """
    if isinstance(METHODS.get(method or ""), Probe) or seed == GIVEN:
        raise OptionError(
            f"the page runs one compiled file, which {f'seed {GIVEN!r}' if seed == GIVEN else f'method {method!r}'} "
            "does not fit; take another, such as the default"
        )
    options: dict[str, Any] = {"head": head, "preprocess": preprocess, "labels": labels}
    with Explainer(model, layers, method, preset, seed, output, **options) as explainer:
        check_head(explainer, head)
        pictures = PictureExplainer(explainer)
        how, prepared = sized(pictures, size)
    proto = compile_prepared(prepared, scores=True, single=True, told=inside(prepared))
    if title is None:
        title = Path(fspath(model)).stem if isinstance(model, str | PathLike) else "A model"
    told = describe(prepared, proto, how, pictures.labels, title)
    data = message(proto)
    if data is None:
        raise OptionError("the compiled model has more than 2 GiB, which no browser loads; take a smaller model")
    files = {
        MODEL: data,
        DESCRIPTION: json.dumps({**told, "bytes": len(data), "webgpu": webgpu}, ensure_ascii=False).encode(),
    }
    given = None if runtime is None else Path(runtime)
    files |= {f"{RUNTIME}/{name}": data for name, data in runtime_files(given, webgpu=webgpu).items()}
    return written({**page_files(), **files}, Path(out))


def sized(pictures: PictureExplainer, size: tuple[int, int] | None) -> tuple[Preprocess, Prepared]:
    """The preprocessing to one size of picture, and the explanation of pictures of that size.

    Raises
    ------
    OptionError
        Nothing tells a size, or the model has another one.
    """
    how, (tensor,) = pictures.preprocess, pictures.explainer.inputs
    shape, dtype = static_shape(tensor) or (), np.dtype(tensor.dtype).name
    if size is not None:
        first = 1 if how.layout == "NHWC" else 2
        own = shape[first : first + 2]
        if min(size) < 1 or any(theirs not in (None, asked) for theirs, asked in zip(own, size, strict=True)):
            raise OptionError(
                f"size={tuple(size)} does not fit input {tensor.name!r}, whose height and width are {own}"
            )
        how = how.fitted((*shape[:first], *size, *shape[first + 2 :]), dtype, how.layout == "NHWC")
    if how.size is None:
        raise OptionError(
            "nothing tells the size of the pictures that this model takes, and the page needs one: give size=(height, "
            "width), --size H W"
        )
    channels = len(how.mean)
    inside = (*how.size, channels) if how.layout == "NHWC" else (channels, *how.size)
    return how, pictures.explainer.prepared.sized({tensor.name: inside})


def page_files() -> dict[str, bytes]:
    """The page's own files, by their names, and the licences of what onnxruntime is made of, where it tells them."""
    page = resources.files("relcam_onnx.web") / "page"
    files = {file.name: file.read_bytes() for file in page.iterdir() if file.is_file()}
    notices = Path(onnxruntime.__file__).with_name("ThirdPartyNotices.txt")
    return {**files, NOTICES: notices.read_bytes()} if notices.is_file() else files


def written(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write a site's files; the page last, so that none stands there without what it loads."""
    paths = [folder / name for name in sorted(files, key=lambda name: (name == "index.html", name))]
    for parent in {path.parent: None for path in paths}:
        make_folder(parent)
    try:
        for path in paths:
            with whole(path) as file:
                file.write(files[path.relative_to(folder).as_posix()])
    except OSError as error:
        raise OptionError(cannot_write(folder, error)) from error
    return paths
