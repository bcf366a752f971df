"""What shells complete, asked as their own scripts ask: through the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nets import Net, plain
from typer.testing import CliRunner

import relcam_onnx as rc
from relcam_onnx.analysis.heads import KINDS
from relcam_onnx.cli import app, completing
from relcam_onnx.lrp.methods import METHODS
from relcam_onnx.lrp.presets import PRESETS
from relcam_onnx.lrp.seeds import SEEDS
from relcam_onnx.pictures.conventions import NAMED
from relcam_onnx.results.report import FORMATS
from relcam_onnx.results.segment import RULES
from relcam_onnx.runners.choosing import BACKENDS
from relcam_onnx.runners.session import PROVIDERS


def completed(*words: object) -> list[str]:
    """What bash gets for the last of these words."""
    line = ["relcam", *map(str, words)]
    asked = {"_RELCAM_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    result = CliRunner().invoke(app, [], prog_name="relcam", env=asked)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.split()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "model.onnx"
    file.write_bytes(plain().SerializeToString())
    return file


def test_names_are_those_that_there_are() -> None:
    assert tuple(METHODS) == completing.METHODS
    assert tuple(PRESETS) == completing.PRESETS
    assert tuple(SEEDS) == completing.SEEDS
    assert completing.HEADS == KINDS
    assert completing.BACKENDS == BACKENDS
    assert tuple(PROVIDERS) == completing.PROVIDERS
    assert tuple(NAMED) == completing.CONVENTIONS
    assert completing.FORMATS == FORMATS
    assert [rule.partition("=")[0] for rule in completing.MASK_RULES] == list(RULES)


@pytest.mark.parametrize(
    ("option", "begun", "wanted"),
    [
        ("--method", "layer", ["layer-cam"]),
        ("--preset", "epsilon-alpha", ["epsilon-alpha2-beta1", "epsilon-alpha2-beta1-flat"]),
        ("--seed", "", [*completing.SEEDS]),
        ("--head", "seg", ["segmenter"]),
        ("--backend", "e", ["eager"]),
        ("--provider", "c", ["cpu", "cuda"]),
        ("--preprocess", "t", ["torchvision", "tensorflow"]),
        ("--format", "anim", ["anim", "anim.gif"]),
        ("--mask-rule", "o", ["otsu"]),
        ("--layer", "f", ["fused"]),
        ("--preset", "mine.to", []),  # a file: the shell's own completion goes on
    ],
)
def test_values_of_options(option: str, begun: str, wanted: list[str]) -> None:
    assert completed("explain", option, begun) == wanted


def test_commands_and_options() -> None:
    assert completed("comp") == ["compile"]
    assert completed("explain", "--mask") == ["--mask", "--mask-rule"]
    assert completed("batch", "--engine", "") == ["local", "ray"]
    assert completed("explain", "mod") == []  # files are the shell's


@pytest.mark.parametrize("command", ["explain", "compile", "audit", "web", "expose"])
def test_layers_are_those_of_the_model_on_the_line(model: Path, command: str) -> None:
    rows = rc.layers(model)
    stages = [row.stage for row in rows if row.stage]
    assert len(stages) > 1
    assert completed(command, model, "--layer", "")[: 4 + len(stages)] == [*completing.LAYERS, *stages]
    assert completed(command, model, "--output", "") == ["scores"]


def test_every_layer_that_is_offered_is_taken(model: Path) -> None:
    offered = completed("explain", model, "cat.jpg", "--seed", "logit", "--layer", "")
    assert {row.name for row in rc.layers(model) if row.stride is not None} <= {*offered}
    with rc.Explainer(model, layers=offered) as explainer:
        assert {layer.name for layer in explainer.settings.layers}


def test_the_model_of_a_batch_is_an_option(model: Path) -> None:
    assert completed("batch", "photos", "-m", model, "--layer", "stride") == [
        row.stage for row in rc.layers(model) if row.stage
    ]


def test_a_key_press_gets_no_error(model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model.read_bytes()[:-100])
    for path in (damaged, tmp_path, tmp_path / "none.onnx", "~nobody/none.onnx"):
        assert completed("explain", path, "--layer", "") == [*completing.LAYERS]
        assert completed("explain", path, "--output", "") == []


def test_a_large_file_is_not_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "LARGEST", 100)
    assert completed("explain", model, "--layer", "") == [*completing.LAYERS]


def test_names_that_a_shell_would_take_apart_are_left_out(tmp_path: Path) -> None:
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8), name="a name; of four words")
    file = tmp_path / "named.onnx"
    file.write_bytes(net.model(net.head(net("Relu", net.conv(x, 8, 8), name="plain/name"), 8)).SerializeToString())
    offered = completed("explain", file, "--layer", "")
    assert "plain/name" in offered
    assert not {"a", "name;", "four"} & {*offered}


@pytest.mark.parametrize(
    ("shell", "extra", "wanted"),
    [
        ("zsh", {}, "_arguments '*: :((\"eager\"))'"),
        ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "eager"),
        ("powershell", {"_TYPER_COMPLETE_WORD_TO_COMPLETE": "ea"}, "eager::: "),
    ],
)
def test_other_shells(shell: str, extra: dict[str, str], wanted: str) -> None:
    asked = {"_RELCAM_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "relcam explain --backend ea", **extra}
    result = CliRunner().invoke(app, [], prog_name="relcam", env=asked)
    assert (result.exit_code, result.stdout.strip("\n"), result.stderr) == (0, wanted, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_by_the_script_that_it_is_given(model: Path, tmp_path: Path) -> None:
    """A bash that has read what ``--show-completion`` prints, with a `relcam` on its path."""
    command = tmp_path / "relcam"
    command.write_text(f"#!{sys.executable}\nfrom relcam_onnx.cli import main\nmain()\n")
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",  # no shell of this process is looked for
        "PYTHONPATH": str(Path(rc.__file__).parents[1]),
    }
    script = f"""source <(relcam --show-completion bash)
    COMP_WORDS=(relcam explain {model} --layer stri) COMP_CWORD=4
    $(complete -p relcam | grep -o '_[a-z_]*') relcam
    echo "${{COMPREPLY[@]}}" """
    run = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.split() == [row.stage for row in rc.layers(model) if row.stage]
    assert run.stderr == ""
