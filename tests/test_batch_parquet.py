"""Parquet files that a batch reads: as sources, and its own shards."""

import subprocess
import sys
from pathlib import Path

import pytest
from batches import encoded, rows, stored, tarred
from typer.testing import CliRunner

from relcam_onnx.cli import app

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

THREADS = """
import io, os, sys
from relcam_onnx.batch.shards import errors_there, shards_done
from relcam_onnx.batch.stores import Folder
from relcam_onnx.batch.tables import check_column, rows_of
from relcam_onnx.batch.units import Unit
before, (source, out) = set(os.listdir("/proc/self/task")), sys.argv[1:]
check_column(source, None)
assert len(list(rows_of(source, 0, None))) == 40
assert errors_there(Folder(out)) == 40
assert not shards_done(Folder(out), [Unit(0, [source], 1)])
print(len(set(os.listdir("/proc/self/task")) - before))
"""


def relcam(*arguments):
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux lists them")
def test_no_thread_of_pyarrows_reads_a_file_of_pythons(tmp_path):
    """One that lets go of such a file while Python ends aborts the process: a finished batch did, one time in six."""
    source, values = tmp_path / "x.parquet", [{"bytes": b"no picture", "path": None}] * 40
    pq.write_table(pa.table({"image": values}), source, row_group_size=8)
    model = stored(tmp_path / "model.onnx")
    assert relcam(source, "-o", tmp_path / "out", "-m", model).exit_code == 1
    told = subprocess.run(
        [sys.executable, "-c", THREADS, source, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "0\n", "")


def test_parts_without_rows_are_done_and_nothing_failed(tmp_path):
    """Spark writes such; a batch given again has nothing left to do."""
    model, source = stored(tmp_path / "model.onnx"), tmp_path / "in"
    source.mkdir()
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for name, values in (("a", []), ("b", [{"bytes": encoded(0), "path": None}]), ("c", [])):
        pq.write_table(pa.table({"image": pa.array(values, kind)}), source / f"{name}.parquet")
    tarred(source / "d.tar", [])
    result = relcam(source, "-o", tmp_path / "out", "-m", model)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("1 pictures in 4 shards: ")
    (row,) = rows(tmp_path / "out")
    assert row["explained"]
    again = relcam(source, "-o", tmp_path / "out", "-m", model)
    assert (again.exit_code, again.stdout.startswith("0 pictures in 0 shards; ")) == (0, True)


def test_a_file_of_a_folder_whose_column_is_not_clear_is_not_damaged(tmp_path):
    model, source = stored(tmp_path / "model.onnx"), tmp_path / "in"
    source.mkdir()
    pq.write_table(pa.table({"image": [encoded(0)]}), source / "a.parquet")
    pq.write_table(pa.table({"image": [encoded(0)], "thumb": [encoded(1)]}), source / "b.parquet")
    result = relcam(source, "-o", tmp_path / "out", "-m", model)
    assert result.exit_code == 1
    good, bad = rows(tmp_path / "out")
    assert good["explained"]
    assert bad["error"].startswith("image, thumb could all be pictures; say which with --column")
    assert "damaged" not in result.stderr
