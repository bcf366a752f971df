"""Make the example photographs of this folder from their originals, which two Python packages ship.

    pip install scikit-image==0.26.0 scikit-learn==1.9.1
    python examples/make_examples.py

Nothing is downloaded. Any version of the packages will do as long as the originals' SHA-256 are the ones below;
the same Pillow then writes the same bytes.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
LONGEST = 640  # pixels
TILE = 224  # pixels

ORIGINALS = {
    "cat": ("skimage", "data/chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    "coffee": ("skimage", "data/coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    "flower": (
        "sklearn",
        "datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ),
    "palace": (
        "sklearn",
        "datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ),
    "rocket": ("skimage", "data/rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
}
"""Name here -> the package that ships the original, the file in it, and its SHA-256."""

MOSAICS = [("coffee", "cat", 0.7), ("coffee", "rocket", 1.0)]
"""Two names here, and the share of each picture's shorter side that its tiles keep."""


def original(name: str) -> Image.Image:
    """Open an original out of its package, at most ``LONGEST`` pixels wide and high."""
    package, file, sha256 = ORIGINALS[name]
    found = find_spec(package)  # finds without importing
    if found is None or found.origin is None:
        raise SystemExit(f"{package}, which ships {file}, is not installed; see the top of this script")
    path = Path(found.origin).parent / file
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise SystemExit(f"{path} is another version of the picture: its SHA-256 is not {sha256}")
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return picture


def tile(picture: Image.Image, share: float) -> Image.Image:
    """Cut a centre square, ``share`` of the shorter side, out of a picture and bring it to ``TILE`` pixels."""
    side = round(share * min(picture.size))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = (left, top, left + side, top + side)
    return picture.resize((TILE, TILE), Image.Resampling.LANCZOS, box=square)


def mosaic(first: Image.Image, second: Image.Image, share: float) -> Image.Image:
    """Two pictures, each in two opposite tiles of a 2×2 square."""
    canvas = Image.new("RGB", (2 * TILE, 2 * TILE))
    for index, picture in enumerate((first, second, second, first)):
        canvas.paste(tile(picture, share), (index % 2 * TILE, index // 2 * TILE))
    return canvas


def main() -> None:
    """Write every example beside this script."""
    pictures = {name: original(name) for name in ORIGINALS}
    for first, second, share in MOSAICS:
        pictures[f"mosaic-{first}-{second}"] = mosaic(pictures[first], pictures[second], share)
    for name, picture in pictures.items():
        picture.save(HERE / f"{name}.jpg", quality=90)


if __name__ == "__main__":
    main()
