"""Importing is cheap and clean, and imports between modules go one way."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import relcam_onnx as rc

PACKAGE = Path(rc.__file__).parent
ORDER = [
    *(
        "errors",
        "extras",
        "files",
        "model",
        "onnx_file",
        "ops",
        "rules",
        "backends",
        "laws",
        "canon",
        "analysis",
        "probing",
        "lrp",
    ),
    *(
        "pictures",
        "results",
        "prepare",
        "listing",
        "exposing",
        "compiling",
        "runners",
        "explainer",
        "sources",
        "explaining",
        "ahead",
        "audit",
        "web",
        "batch",
        "cli",
        "__main__",
    ),
]
"""The architecture's order: a module or folder may import those before it, never those after it."""


def loaded(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after ``code``."""
    command = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


def imports_of(tree: ast.Module) -> set[str]:
    """The modules of this package that a module imports, at its head or within functions; types alone do not count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1
            base = f"relcam_onnx.{node.module}" if node.level else str(node.module)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    files = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in files.items()}
    edges = {name: imports_of(ast.parse(path.read_text())) & set(modules) for name, path in modules.items()}
    return {name: found - {name, "relcam_onnx"} for name, found in edges.items()}


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = [name for name in graph if name == start or name.startswith(f"{start}.")]
    while todo:
        todo += (more := graph[todo.pop()] - seen)
        seen |= more
    return seen


def test_importing_loads_nothing_heavy():
    heavy = {"torch", "torchvision", "matplotlib", "typer", "click", "rich", "onnx", "onnxruntime", "numpy", "PIL"}
    assert not loaded("import relcam_onnx") & heavy


def test_explaining_needs_no_torch_no_plotting_no_command_line():
    names = ", ".join(name for name in rc.__all__ if not name.startswith("_"))
    strangers = {"torch", "torchvision", "matplotlib", "typer", "click", "rich", "scipy", "skimage", "relcam_exporters"}
    assert not loaded(f"from relcam_onnx import {names}; import relcam_onnx.explaining") & strangers


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_loads_no_engine(argument):
    code = f"from relcam_onnx.cli import app\ntry: app(['{argument}'])\nexcept SystemExit: pass"
    assert not loaded(code) & {"onnx", "onnxruntime", "onnx_graphsurgeon", "numpy", "PIL"}


def test_public_names_are_what_they_say():
    for name in rc.__all__:
        assert getattr(rc, name) is not None
    assert set(rc.__all__) <= set(dir(rc))
    assert callable(rc.layers)
    assert callable(rc.explain)
    assert not hasattr(rc, "nothing_of_the_kind")


def test_no_module_takes_the_name_of_a_public_function(graph):
    assert not {f"relcam_onnx.{name}" for name in set(rc.__all__) - {"rules"}} & set(graph)


def test_no_module_imports_in_a_circle(graph):
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) == set(graph)


def place(module: str) -> int:
    """Where a module stands in the order, by its folder or its own name."""
    return ORDER.index(module.removeprefix("relcam_onnx.").partition(".")[0])


def test_imports_go_one_way(graph):
    assert {place(module) for module in graph if module != "relcam_onnx"} == set(range(len(ORDER)))
    up = {
        (module, used)
        for module, uses in graph.items()
        for used in uses
        if module != "relcam_onnx" and place(used) > place(module)
    }
    assert not up


@pytest.mark.parametrize("early", ["onnx_file", "ops", "canon"])
def test_reading_and_rewriting_know_no_rules(graph, early):
    assert not any(name.startswith("relcam_onnx.rules") for name in reached(graph, f"relcam_onnx.{early}"))
