"""The runtime that the page loads: onnxruntime-web at one pinned version, from npm's registry or a folder."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from relcam_onnx.errors import OptionError
from relcam_onnx.files import cannot_write, make_folder, whole

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""The SHA-512 of the package's archive, as npm tells it."""
REGISTRY = "https://registry.npmjs.org/"
"""Where packages are looked for unless npm is set up otherwise."""
SECONDS = 60
"""The longest wait for an answer of the registry."""

FILES = {
    "ort.wasm.min.mjs": "ort.js",
    "ort-wasm-simd-threaded.mjs": "ort-wasm.js",
    "ort-wasm-simd-threaded.wasm": "ort-wasm.wasm",
}
"""The files of the package's ``dist`` that the page loads, and their names there: every server knows what .js is."""
WEBGPU = {
    "ort.jspi.min.mjs": "gpu.js",
    "ort-wasm-simd-threaded.jspi.mjs": "gpu-wasm.js",
    "ort-wasm-simd-threaded.jspi.wasm": "gpu-wasm.wasm",
}
"""Those that it loads instead where the browser has WebGPU, and WebAssembly that can wait for it."""

Files = Mapping[str, bytes]


def runtime_files(folder: Path | None = None, *, webgpu: bool = False) -> Files:
    """The runtime's files by the names that they have in a site.

    Parameters
    ----------
    folder
        Where they lie: an unpacked package, or its ``dist``; None: the cache, else npm's registry.
    webgpu
        Also those for WebGPU.

    Raises
    ------
    OptionError
        They are not there; the registry does not answer, or answers something else.
    """
    wanted = {**FILES, **WEBGPU} if webgpu else FILES
    if folder is not None:
        return from_folder(folder, wanted)
    kept = cache_folder()
    if holds(kept, wanted):
        return from_folder(kept, wanted)
    found = unpacked(download(f"{registry().rstrip('/')}/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"))
    keep(found, kept)
    return {name: found[own] for own, name in wanted.items()}


def holds(folder: Path, wanted: Mapping[str, str]) -> bool:
    """Whether files lie there."""
    return all((folder / name).is_file() for name in wanted)


def from_folder(folder: Path, wanted: Mapping[str, str]) -> Files:
    """The files of an unpacked package, wherever in it the folder is."""
    places = (folder, folder / "dist", folder / "package" / "dist", folder / "node_modules" / PACKAGE / "dist")
    for place in places:
        if holds(place, wanted):
            return {name: (place / own).read_bytes() for own, name in wanted.items()}
    raise OptionError(
        f"runtime folder {str(folder)!r} lacks {', '.join(wanted)}: unpack {PACKAGE} {VERSION} there "
        f"(npm pack {PACKAGE}@{VERSION}), or leave runtime= (--runtime) out to have it downloaded"
    )


def registry() -> str:
    """Where npm would look: its variable, else its settings where it is installed, else the public registry."""
    for name, value in os.environ.items():
        if name.lower() == "npm_config_registry" and value:
            return value
    if (npm := shutil.which("npm")) is not None:
        told = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, check=False)
        if told.stdout.startswith("http"):
            return told.stdout.strip()
    return REGISTRY


def download(address: str) -> bytes:
    """The package's archive.

    Raises
    ------
    OptionError
        It cannot be had, or is not the one that is pinned.
    """
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            data: bytes = answer.read()
    except (OSError, ValueError) as error:
        raise OptionError(
            f"{PACKAGE} {VERSION} cannot be downloaded from npm's registry ({error}): set NPM_CONFIG_REGISTRY to one "
            f"that is within reach, or unpack the package by hand and name its folder with runtime= (--runtime)"
        ) from error
    check(data)
    return data


def check(data: bytes) -> None:
    """Raise `OptionError` where an archive is not the one that is pinned."""
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != INTEGRITY:
        raise OptionError(
            f"what the registry sent is not {PACKAGE} {VERSION}: its SHA-512 differs from the pinned one. Try another "
            "registry (NPM_CONFIG_REGISTRY), or name an unpacked package with runtime= (--runtime)"
        )


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files that are needed, by their own names."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for name in (*FILES, *WEBGPU):
            member = tar.extractfile(f"package/dist/{name}")
            assert member is not None  # the archive is the pinned one
            found[name] = member.read()
    return found


def cache_folder() -> Path:
    """Where this version is kept from one site to the next."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(base) / "relcam-onnx" / f"{PACKAGE}-{VERSION}"


def keep(found: Mapping[str, bytes], folder: Path) -> None:
    """Keep files in a folder.

    Raises
    ------
    OptionError
        It cannot be written.
    """
    make_folder(folder)
    try:
        for name, data in found.items():
            with whole(folder / name) as file:
                file.write(data)
    except OSError as error:
        raise OptionError(cannot_write(folder, error)) from error
