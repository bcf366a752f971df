"""The C# API of onnxruntime as an assembly, made of its sources by Mono's compiler.

That compiler stands at C# 7.3, the sources at 9: what the two spell differently is respelled in a copy. Nothing that is
computed changes: ``using var`` loses its early release, which finalisers then do.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

RESPELLED = {
    r"\busing var ": "var ",
    r"\bstatic ptr =>": "ptr =>",
    r"\b(\w+<\w+>) (\w+) = new\(": r"\1 \2 = new \1(",
    r" : unmanaged\b": " : struct",
    r"\((\S+) is not (\w+)\)": r"(!(\1 is \2))",
    r"\b(\w+) is null\b": r"\1 == null",
    # What a span's indexer hands out is assigned to where the span has a name, and once.
    r"\b(\w+)\.Span\[(\w+)\] = (.+);": r"var span = \1.Span; span[\2] = \3;",
    r"\b(\w+\[0\]) = (\w+\[1\]) = (.+);": r"\1 = \3; \2 = \3;",
}


def build(sources: Path, folder: Path) -> Path:
    """Microsoft.ML.OnnxRuntime.dll in a folder, of inference alone."""
    copies = []
    for source in sorted([*sources.glob("*.cs"), *(sources / "Tensors").glob("*.cs")]):
        text = source.read_text("utf-8-sig")
        for spelling, other in RESPELLED.items():
            text = re.sub(spelling, other, text)
        copies.append(folder / source.name)
        copies[-1].write_text(text, "utf-8")
    assembly = folder / "Microsoft.ML.OnnxRuntime.dll"
    # As the package for .NET Standard 2.0 is built, which is the one that Mono runs. Its warnings are not ours.
    options = ["-define:NETSTANDARD2_0", "-langversion:latest", "-unsafe", "-target:library", "-warn:0"]
    subprocess.run(["mcs", *options, f"-out:{assembly}", *copies], check=True)
    return assembly
