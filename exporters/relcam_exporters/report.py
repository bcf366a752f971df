"""What an export tells its user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far it is from PyTorch; ``str`` gives it in a few lines.

    Attributes
    ----------
    path, size, sha256
        The file, its length in bytes, its hex digest.
    inputs, outputs
        Name -> shape; a text stands for a size that is left open.
    nodes
        How many the graph has.
    difference, largest
        The largest absolute difference between onnxruntime's and PyTorch's scores on a random batch, and the
        largest absolute score.
    """

    path: Path
    size: int
    sha256: str
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    nodes: int
    difference: float
    largest: float

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.size / 1e6:.1f} MB, {self.nodes} nodes"]
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            lines += [f"  {kind:6} {name} ({', '.join(map(str, shape))})" for name, shape in tensors.items()]
        lines += [
            f"  largest difference from PyTorch on a random batch: {self.difference:.1e} "
            f"(largest score {self.largest:.3g})",
            f"  sha256 {self.sha256}",
        ]
        return "\n".join(lines)
