"""`relcam batch --engine ray` on a real cluster of this machine, a worker of which is killed in mid-run."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from batches import encoded, rows, said, stored, tarred
from typer.testing import CliRunner

from relcam_onnx.cli import app

pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray")

from relcam_onnx.batch import Request, explain_batch, on_ray  # noqa: E402 - needs the extras

TARS, PICTURES = 6, 40


@pytest.fixture(scope="module")
def request_of(tmp_path_factory):
    """A request for a few tar files, by its destination."""
    place = tmp_path_factory.mktemp("ray")
    stored(place / "model.onnx")
    for tar in range(TARS):
        tarred(place / f"{tar}.tar", [(f"{n:03}.png", encoded(n % 3)) for n in range(PICTURES)])
    return lambda dest, **more: Request(
        place / "model.onnx", [str(place / "*.tar")], str(place / dest), shard=8, **more
    )


def workers() -> list[int]:
    """The processes of ours that explain: Ray calls them by what they do."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if b"MapWorker" in (process / "cmdline").read_bytes() and descends(int(process.name)):
                found.append(int(process.name))
        except (OSError, ValueError):
            continue  # no process, or one that has ended
    return found


def descends(process: int) -> bool:
    """Whether this process began another one, or one that began it."""
    while process > 1:
        if process == os.getpid():
            return True
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the workers in /proc")
def test_a_killed_worker_costs_no_row(request_of):
    """It dies when the first shard stands; another does what it was at, and rows are those of the local engine."""
    request, killed, shards = request_of("out"), [], []

    def kill() -> None:
        while not list(Path(request.dest).glob("part-*.parquet")):
            time.sleep(0.005)
        killed.extend(workers()[:1])
        os.kill(killed[0], signal.SIGKILL)
        shards.extend(Path(request.dest).glob("part-*.parquet"))

    threading.Thread(target=kill, daemon=True).start()
    arguments = ["--engine", "ray", "--concurrency", "2", "--threads", "1", "--shard", "8"]
    arguments += ["-m", str(request.model), *request.sources, "-o", request.dest]
    result = CliRunner().invoke(app, ["batch", *arguments])
    assert result.exit_code == 0
    assert all("note" in line for line in result.stderr.splitlines())  # progress, where a machine is busy
    assert killed
    assert len(shards) < TARS * PICTURES // 8
    found = rows(request.dest)
    assert [row["row"] for row in found] == [*range(PICTURES)] * TARS
    assert not ray.is_initialized()
    explain_batch(request_of("local"))
    assert [said(row) for row in found] == [said(row) for row in rows(request_of("local").dest)]
    assert explain_batch(request).pictures == 0  # one engine goes on with what the other wrote


def test_what_workers_die_of_again_and_again_is_given_up(request_of, monkeypatch):
    monkeypatch.setattr(ray, "get", lambda value: value)
    worker = object.__new__(on_ray.Explaining)
    worker._tries = SimpleNamespace(begin=SimpleNamespace(remote=lambda unit: on_ray.TRIES + 1))
    unit = {"number": 3, "files": ["x.tar"], "size": 9, "column": None}
    (told,) = worker({"unit": [json.dumps({"unit": unit, "done": 0})]})["step"]
    assert on_ray.as_step(told).pictures == 0


def test_an_unknown_cluster_is_said(request_of):
    result = CliRunner().invoke(app, [
        "batch", "--engine", "ray", "--address", "nowhere:1", "-m", str(request_of("x").model),
        *request_of("x").sources, "-o", request_of("unknown").dest,
    ])  # fmt: skip
    assert result.exit_code == 2
    assert "Ray: no cluster at 'nowhere:1'" in result.stderr
