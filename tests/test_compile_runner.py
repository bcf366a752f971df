"""`Explainer` over compiled models: sessions, cache, memory, devices."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from compare import same_maps
from nets import picture, plain, residual

import relcam_onnx as rc
from relcam_onnx.compiling.compile import compile_light
from relcam_onnx.errors import InputError
from relcam_onnx.onnx_file import weights
from relcam_onnx.runners import compiled, kept, session

X = picture(4, 3, 32, 32)


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Any) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        return self.function(*arguments, **options)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """How many sessions are made."""
    counted = Counted(session.open_session)
    monkeypatch.setattr(compiled, "open_session", counted)
    return counted


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """How many models are compiled."""
    counted = Counted(compile_light)
    monkeypatch.setattr(compiled, "compile_light", counted)
    return counted


def test_one_session_serves_all_calls_and_threads(sessions: Counted) -> None:
    with rc.Explainer(residual(), "stages", threads=1) as explainer:
        alone = [explainer(X[i : i + 1]) for i in range(4)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda i: explainer(X[i : i + 1]), range(4)))
    for got, wanted in zip(together, alone, strict=True):
        same_maps(got, wanted, 1e-6)
    assert sessions.calls == 1


def test_threads_that_meet_a_new_size_make_one_session_for_it(sessions: Counted) -> None:
    with rc.Explainer(residual(size="size"), "stages", threads=1) as explainer, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: explainer(X[:1]), range(8)))
    assert sessions.calls == 1


def test_sessions_of_the_last_sizes_are_kept(sessions: Counted) -> None:
    with rc.Explainer(residual(size="size"), "last") as explainer:
        for size in (16, 24, 32, 40, 16, 48, 16, 24):
            explainer(picture(1, 3, size, size))
    assert sessions.calls == 6  # 16 stays in use; 24 is the oldest when 48 comes
    assert kept.KEPT == 4


def test_cache_serves_the_next_explainer(tmp_path: Path, compilations: Counted) -> None:
    for _ in range(2):
        with rc.Explainer(plain(), "stages", cache=tmp_path) as explainer:
            first = explainer(X)
    assert compilations.calls == 1
    with rc.Explainer(plain(), "stages") as explainer:
        same_maps(first, explainer(X), 0)


def test_cache_tells_models_and_options_apart(tmp_path: Path, compilations: Counted) -> None:
    others: list[dict[str, Any]] = [
        {}, {"layers": "last"}, {"seed": "logit"}, {"method": "lrp"}, {"preset": "paper"},
        {"preset": rc.preset("default", low=-1.0, high=1.0)}, {"model": residual()},
    ]  # fmt: skip
    for options in others:
        rc.Explainer(**{"model": plain(), "layers": "stages", "cache": tmp_path, **options})
    assert compilations.calls == len(list(tmp_path.iterdir())) == len(others)


def test_a_preset_of_functions_is_not_cached(tmp_path: Path) -> None:
    own = rc.Preset("own", ((lambda site: site.op == "Conv", rc.rules.ZPlus()), ("*", rc.rules.Epsilon())))
    rc.Explainer(plain(), "stages", preset=own, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_large_weights_are_one_array_for_all_and_not_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compilations: Counted
) -> None:
    wanted = rc.Explainer(plain(), "stages")(X)
    monkeypatch.setattr(weights, "LARGE", 256)
    for backend in ("compiled", "compiled", "eager"):
        explainer = rc.Explainer(plain(), "stages", cache=tmp_path, backend=backend)
        apart = explainer.model.weights
        assert len(apart) > 1
        held = {t.name: t.values for t in explainer.model.graph.tensors().values() if t.name in apart}
        assert any(np.shares_memory(value, apart[name]) for name, value in held.items())
        same_maps(explainer(X), wanted, 0 if backend == "compiled" else 1e-4)
    assert compilations.calls == 2  # the first of all, and one that the cache then had
    (file,) = tmp_path.iterdir()
    stored = onnx.load(file, load_external_data=False).graph.initializer
    assert {t.name for t in stored if t.data_location == onnx.TensorProto.EXTERNAL} == set(apart)
    own = onnxruntime.SessionOptions()  # which no weights are added to, however often they serve
    for _ in range(2):
        same_maps(rc.Explainer(plain(), "stages", cache=tmp_path, session_options=own)(X), wanted, 0)


def test_a_broken_file_in_the_cache_is_made_anew(tmp_path: Path, compilations: Counted) -> None:
    wanted = rc.Explainer(plain(), "stages", cache=tmp_path)(X)
    (model,) = tmp_path.glob("*.onnx")
    for calls, left in enumerate((1000, 0), 2):
        model.write_bytes(model.read_bytes()[:left])
        for _ in range(2):
            same_maps(rc.Explainer(plain(), "stages", cache=tmp_path)(X), wanted, 0)
        assert compilations.calls == calls


def test_a_cache_that_cannot_be_written_is_only_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled, "write_model", full)
    with pytest.warns(UserWarning, match=r"compiled model is not kept: cannot write to .*No space left on device"):
        explainer = rc.Explainer(plain(), "stages", cache=tmp_path)
    same_maps(explainer(X[:1]), rc.Explainer(plain(), "stages")(X[:1]), 0)
    (tmp_path / "file").touch()
    with pytest.raises(rc.OptionError, match=r"cannot write to .*file"):
        rc.Explainer(plain(), "stages", cache=tmp_path / "file")


def test_max_batch_bounds_what_runs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(made: Any, names: Any, inputs: Any) -> Any:
        seen.append(len(inputs["x"]))
        return session.run_session(made, names, inputs)

    with rc.Explainer(plain(), "stages") as whole:
        wanted = whole(X)
    monkeypatch.setattr(compiled, "run_session", spy)
    with rc.Explainer(plain(), "stages", max_batch=3) as explainer:
        same_maps(explainer(X), wanted)
    assert seen == [3, 1]


def test_memory_that_does_not_suffice_is_tried_with_half(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def small(made: Any, names: Any, inputs: Any) -> Any:
        seen.append(len(inputs["x"]))
        if seen[-1] > 2:
            raise InputError("onnxruntime could not run the model on this input: Failed to allocate memory")
        return session.run_session(made, names, inputs)

    with rc.Explainer(plain(), "stages") as whole:
        wanted = whole(X)
    monkeypatch.setattr(compiled, "run_session", small)
    with rc.Explainer(plain(), "stages") as explainer:
        with pytest.warns(UserWarning, match=r"not enough memory for 4 images at once, trying 2; set max_batch"):
            same_maps(explainer(X), wanted)
        assert seen == [4, 2, 2]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            same_maps(explainer(X[:2]), explainer(X[:2]), 0)


def test_other_failures_and_single_images_are_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def failing(*_: Any) -> Any:
        seen.append(1)
        raise InputError("onnxruntime could not run the model on this input: out of memory")

    monkeypatch.setattr(compiled, "run_session", failing)
    with rc.Explainer(plain(), "stages") as explainer, pytest.raises(rc.InputError, match="out of memory"):
        explainer(X[:1])
    assert len(seen) == 1


@pytest.mark.parametrize("backend", ["compiled", "eager"])
@pytest.mark.parametrize("targets", [None, [[0, 1]] * 4], ids=["one target", "two"])
def test_tensors_of_other_libraries(backend: str, targets: Any) -> None:
    """DLPack tensors and OrtValues give what arrays give, cut into pieces or not."""
    given = [torch.from_numpy(X), onnxruntime.OrtValue.ortvalue_from_numpy(X)]
    with rc.Explainer(plain(), "stages", backend=backend) as explainer:
        wanted = explainer(X, targets)
        for x in given:
            same_maps(explainer(x, targets), wanted, 1e-6)
            same_maps(explainer({"x": x}, targets), wanted, 1e-6)
    with rc.Explainer(plain(), "stages", backend=backend, max_batch=3) as explainer:
        for x in given:
            same_maps(explainer(x, targets), wanted)


def test_tensors_are_checked_as_arrays_are() -> None:
    with rc.Explainer(plain(), "stages") as explainer:
        with pytest.raises(rc.InputError, match=r"float64 .* the model takes float32"):
            explainer(torch.zeros(1, 3, 32, 32, dtype=torch.float64))
        with pytest.raises(rc.InputError, match=r"\(1, 3, 8, 8\), the model takes"):
            explainer(onnxruntime.OrtValue.ortvalue_from_numpy(X[:1, :, :8, :8].copy()))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime that has every provider."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(session.PROVIDERS.values()))


@pytest.mark.usefixtures("gpu")
def test_cuda_runs_without_tf32_unless_it_is_allowed() -> None:
    cuda: Any = ("CUDAExecutionProvider", {"use_tf32": "0"})
    cpu: Any = ("CPUExecutionProvider", {})
    assert session.choose_providers(None) == [cuda, cpu]
    assert session.choose_providers("cpu") == [cpu]
    assert session.choose_providers(["CUDA", "cpu"]) == session.choose_providers(("CUDA", "cpu")) == [cuda, cpu]
    allowed = {"use_tf32": "1", "device_id": "1"}
    assert session.choose_providers([("cuda", allowed)]) == [("CUDAExecutionProvider", allowed)]
    assert session.choose_providers(["tensorrt", "cuda"]) == [("TensorrtExecutionProvider", {}), cuda]


@pytest.mark.parametrize("given", ["cpu", ("cpu",), ["cpu"], ("cpu", {}), [("cpu", {})], (("cpu", {}),)])
@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_providers_as_lists_and_tuples(given: Any, backend: str) -> None:
    with rc.Explainer(plain(), "last", providers=given, backend=backend) as explainer:
        assert explainer(X[:1]).maps["last"].shape == (1, 1, 8, 8)
    with pytest.raises(rc.OptionError, match="no provider 'cup'"):
        rc.Explainer(plain(size="size"), providers=("cup", "cpu"), backend=backend)


def test_without_a_gpu_the_default_is_cpu() -> None:
    assert session.choose_providers(None) == [("CPUExecutionProvider", {})]
    with pytest.raises(rc.OptionError, match=r"no provider 'cuda'.*it has cpu.*relcam-onnx\[gpu\]"):
        rc.Explainer(plain(), providers=["cuda", "cpu"])
    with pytest.raises(rc.OptionError, match="no provider 'cup' \\(did you mean 'cpu'"):
        rc.Explainer(plain(), providers=["cup"])
