"""Files that are written whole: what a link leads to, and never over what is no file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from nets import plain
from test_cli import relcam

from relcam_onnx.errors import OptionError
from relcam_onnx.files import whole
from relcam_onnx.onnx_file import store


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to("deep/link")
    (tmp_path / "deep" / "link").symlink_to("real")
    for content in (b"new where nothing was", b"once more"):
        with whole(tmp_path / "link") as file:
            file.write(content)
        assert (tmp_path / "deep" / "real").read_bytes() == content
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["link", "real"]


def test_weights_beside_a_link_are_beside_what_it_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PROTOBUF_LIMIT", 0)
    (tmp_path / "deep").mkdir()
    (tmp_path / "model.onnx").symlink_to("deep/real.onnx")
    written = store.write_model(plain(), tmp_path / "model.onnx")
    assert written == [tmp_path / "deep" / "real.onnx", tmp_path / "deep" / "real.data"]
    assert all(path.is_file() for path in written)
    assert (tmp_path / "model.onnx").is_symlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    pipe, round_, model = tmp_path / "pipe", tmp_path / "round", tmp_path / "model.onnx"
    model.write_bytes(plain().SerializeToString())
    os.mkfifo(pipe)
    round_.symlink_to(round_)
    (tmp_path / "link").symlink_to(pipe)
    for name in ("pipe", "round", "link"):
        with pytest.raises(OptionError, match=f"{name}' is a device"), whole(tmp_path / name):
            pass
        for command in ("compile", "expose"):
            told = relcam(command, model, "-o", tmp_path / name)
            assert (told.exit_code, "is a device, a pipe" in told.stderr) == (2, True)
    assert (pipe.is_fifo(), round_.is_symlink()) == (True, True)
    assert not list(tmp_path.glob(".*"))
