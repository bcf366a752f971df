"""examples/server.py behind a real uvicorn: many clients at once, uploads of every bad kind, and it goes on."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import inverted, plain
from PIL import Image

import relcam_onnx as rc
from relcam_onnx.pictures.pixels import read_pixels
from relcam_onnx.pictures.preprocess import Preprocess

for needed in ("fastapi", "uvicorn"):
    pytest.importorskip(needed)
httpx = pytest.importorskip("httpx")
import uvicorn  # noqa: E402

SERVER = Path(__file__).parents[1] / "examples" / "server.py"
CLIENTS = 50
HOW = {"size": [32, 32], "resize_size": 32, "scale": 1 / 255, "mean": [0.5] * 3, "std": [0.25] * 3}


def photograph(seed: int = 0, form: str = "PNG", size: tuple[int, int] = (32, 32)) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, form)
    return file.getvalue()


def bomb(side: int = 10_000) -> bytes:
    """A whole PNG of 100 megapixels, black and of one bit each, in 12 KB."""
    rows = zlib.compress(bytes((1 + side // 8) * side))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("server") / "explained.onnx"
    file.write_bytes(rc.compile_model(plain(), heatmap=True, preprocess=HOW).SerializeToString())
    return file


def serving(model: Path) -> Any:
    """The example as a module, of a model."""
    spec = importlib.util.spec_from_file_location("example_server", SERVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL", str(model))
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "other", [{"channels": "BGR"}, {"resize": "letterbox"}, {"resize_size": [32, 50]}, {"resize_size": 24}], ids=str
)
def test_pictures_that_are_prepared_otherwise_are_none_of_its(other: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "explained.onnx"
    file.write_bytes(rc.compile_model(plain(), heatmap=True, preprocess={**HOW, **other}).SerializeToString())
    with pytest.raises(SystemExit, match="prepares pictures otherwise"):
        serving(file)


HOWS: dict[str, dict[str, Any]] = {
    "covers": {"resize_size": None},
    "wide": {"size": [32, 48], "resize_size": None},
    "tall": {"size": [48, 32], "resize_size": None},
    "the middle": {"resize_size": 41},
    "the middle of a tall one": {"size": [48, 32], "resize_size": 57},
    "bilinear": {"interpolation": "bilinear"},
    "nearest": {"interpolation": "nearest"},
}
FORMS = {
    "RGB": lambda: Image.fromarray(GRADIENT),
    "thin": lambda: Image.fromarray(GRADIENT[:40]),
    "transparent": lambda: Image.fromarray(np.dstack([GRADIENT, GRADIENT[..., :1]])),
    "palette": lambda: Image.fromarray(GRADIENT).quantize(16),
    "16 bits": lambda: Image.fromarray(GRADIENT[..., 0].astype(np.uint16) * 257),
    "grey": lambda: Image.fromarray(GRADIENT[..., 1]),
}
STEPS = np.mgrid[:97, :131].astype(float)
GRADIENT = np.stack([STEPS[0] * 2.6, STEPS[1] * 1.9, 128 + 120 * np.sin(STEPS.sum(axis=0) / 9)], axis=-1).astype(
    np.uint8
)


@pytest.mark.parametrize(("how", "form"), [*((how, "RGB") for how in HOWS), *(("covers", form) for form in FORMS)])
def test_pictures_are_prepared_as_the_package_does(how: str, form: str, tmp_path: Path) -> None:
    """Within two levels of 255: Pillow rounds where a part of a picture begins."""
    asked, file = {**HOW, **HOWS[how]}, tmp_path / "explained.onnx"
    size = tuple(asked["size"])
    compiled = rc.compile_model(inverted(size="S"), heatmap=True, preprocess=asked, size=size)
    file.write_bytes(compiled.SerializeToString())
    FORMS[form]().save(tmp_path / "picture.png")
    found = serving(file).pixels((tmp_path / "picture.png").read_bytes())
    wanted, _ = Preprocess(**{key: tuple(v) if isinstance(v, list) else v for key, v in asked.items()}).apply(
        read_pixels(tmp_path / "picture.png")
    )
    assert found.shape == (1, 3, *size)
    np.testing.assert_allclose(found[0], wanted, rtol=0, atol=2.1 / 255 / 0.25)


@pytest.fixture(scope="module")
def address(model: Path) -> Iterator[str]:
    """Where it listens, on this machine alone."""
    module = serving(model)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(module.app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/explain"
    server.should_exit = True
    thread.join()


def asked(address: str, bodies: list[tuple[bytes, str]]) -> list[Any]:
    """The answers to bodies that are all sent at once, each by a client of its own."""

    context = ssl.create_default_context()  # unused, and slow to make for each

    async def one(body: bytes, query: str) -> Any:
        async with httpx.AsyncClient(timeout=60, verify=context) as client:
            return await client.post(address + query, content=body)

    async def every() -> list[Any]:
        return await asyncio.gather(*(one(*body) for body in bodies))

    return asyncio.run(every())


def heat(answer: Any) -> np.ndarray:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def wanted(bodies: list[bytes], targets: list[list[int]]) -> list[tuple[int, np.ndarray]]:
    """Classes and maps by the package: all photographs as one batch on the eager backend."""
    x = (np.stack([np.asarray(Image.open(io.BytesIO(body)), np.float32) for body in bodies]) / 255 - 0.5) / 0.25
    with rc.Explainer(plain(), "fused", backend="eager") as explainer:
        found = explainer(x.transpose(0, 3, 1, 2), targets)
    values = np.maximum(found.maps["fused"][:, 0], 0)
    return [(int(index), 255 * value / value.max()) for (index,), value in zip(found.targets, values, strict=True)]


def test_many_clients_each_get_their_own_map(address: str) -> None:
    bodies = [photograph(seed) for seed in range(CLIENTS)]
    targets = [[-1 - seed % 2] for seed in range(CLIENTS)]
    answers = asked(address, [(body, f"?target={rank}") for body, (rank,) in zip(bodies, targets, strict=True)])
    for answer, (index, value) in zip(answers, wanted(bodies, targets), strict=True):
        assert answer.headers["x-class"] == str(index)
        np.testing.assert_allclose(heat(answer), value, rtol=0, atol=1)


def test_bad_uploads_are_refused_amid_good_ones(address: str) -> None:
    jpeg = photograph(form="JPEG", size=(64, 64))
    bad = {
        422: [b"", b"no photograph", jpeg[:400], photograph()[:60], jpeg[:2] + bytes(500)],
        413: [bomb(), bytes(21_000_000)],
    }
    bodies = [(body, "") for listed in bad.values() for body in listed] * 3
    good = [(photograph(form=form), "") for form in ("JPEG", "PNG", "WEBP")] * 4
    answers = asked(address, bodies + good)
    codes = [code for code, listed in bad.items() for _ in listed] * 3
    assert [answer.status_code for answer in answers] == codes + [200] * len(good)
    targets = [(photograph(), f"?target={target}") for target in ("5", "-6", "cat", "9" * 30)]
    assert {answer.status_code for answer in asked(address, targets)} == {422}
    assert heat(asked(address, [(jpeg, "?target=4")])[0]).any()
