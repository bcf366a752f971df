"""The wheel by itself: all files are in it, its commands work, and tests pass on it. Run by `make wheel-test`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import relcam_onnx

TESTS = ("test_load.py", "test_by_hand.py", "test_fields.py", "test_preprocess.py", "test_explainer.py")
PACKAGES = {"relcam_onnx": "relcam_onnx", "relcam_exporters": "exporters/relcam_exporters"}
SKIPPED = {"__pycache__"}


def main(checkout: Path) -> None:
    """Check what is installed against a checkout, here."""
    installed = Path(relcam_onnx.__file__).parent.parent
    assert not installed.is_relative_to(checkout), f"{installed} is the checkout's"
    for package, folder in PACKAGES.items():
        files = [f for f in (checkout / folder).rglob("*") if f.is_file() and not SKIPPED & set(f.parts)]
        for file in files:
            other = installed / package / file.relative_to(checkout / folder)
            assert other.is_file(), f"{other} is missing in the wheel"
            assert other.read_bytes() == file.read_bytes(), f"{other} is another file"
        print(f"{package}: all {len(files)} files are there")
    relcam = Path(sys.executable).with_name("relcam")
    for name in ("models", "examples"):
        shutil.copytree(checkout / name, name)
    model = "models/efficientnet-lite0.onnx"
    for command in (
        ["--version"],
        ["layers", model],
        ["explain", model, "examples/cat.jpg", "-o", "out"],
        ["compile", model, "-o", "explained.onnx"],
    ):
        subprocess.run([relcam, *command], check=True, stdout=subprocess.DEVNULL)
    told = json.loads(Path("out/results.json").read_text(encoding="utf-8"))
    assert "cat" in told["images"][0]["targets"][0]["label"]
    assert {"index.html", "cat.jpg", "cat.npz"} <= {file.name for file in Path("out").iterdir()}
    print("relcam: --version, layers, explain, compile")
    shutil.copytree(checkout / "tests", "tests", ignore=shutil.ignore_patterns("__pycache__"))
    tests = [f"tests/{name}" for name in TESTS]
    subprocess.run([sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], check=True)
    print(f"python {sys.version.split()[0]}: the wheel stands by itself")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
