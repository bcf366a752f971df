"""`relcam batch` through a real object server on this machine: pictures, tar and Parquet files in, shards out."""

import os

import numpy as np
import pytest
from batches import encoded, pictures, rows, said, stored, tarred

import relcam_onnx as rc

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")
pytest.importorskip("flask_cors")

import fsspec  # noqa: E402 - an extra

from relcam_onnx.batch import Request, explain_batch  # noqa: E402

COUNT = 5


@pytest.fixture(scope="module")
def bucket():
    """A bucket of a server of our own, and what reads it."""
    started = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    told = {
        "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "thing", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fs.mkdir("pictures")
    yield fs
    started.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def wanted(model, bucket, tmp_path_factory):
    """The rows of a folder on this machine; the same pictures are in the bucket."""
    place = tmp_path_factory.mktemp("in")
    folder = pictures(place / "pictures", COUNT)
    named = [(f"{n:04}.png", encoded(n)) for n in range(COUNT)]
    tar = tarred(place / "x.tar", named)
    table = pa.table({"image_path": [f"in/{name}" for name, _ in named]})
    pq.write_table(table, place / "paths.parquet")
    for file in folder.iterdir():
        bucket.pipe_file(f"pictures/in/{file.name}", file.read_bytes())
    bucket.pipe_file("pictures/x.tar", tar.read_bytes())
    bucket.pipe_file("pictures/paths.parquet", (place / "paths.parquet").read_bytes())
    explain_batch(Request(model, [str(folder)], str(place / "out"), shard=2))
    return [said(row) for row in rows(place / "out")]


@pytest.mark.parametrize("source", ["in", "in/*.png", "x.tar", "paths.parquet"])
def test_an_object_store_is_a_folder_like_any_other(source, wanted, model, bucket):
    dest = f"s3://pictures/out-{source[:2]}-{source[-3:]}"
    request = Request(model, [f"s3://pictures/{source}"], dest, shard=2, sheets=True)
    assert explain_batch(request).pictures == COUNT
    found = rows(dest.removeprefix("s3://"), filesystem=bucket)
    assert [said(row) for row in found] == wanted
    assert all(row["file"].startswith("s3://pictures/") for row in found)
    assert all(bucket.exists(f"{dest}/{row['sheet']}") for row in found)


def test_a_run_on_an_object_store_goes_on(wanted, model, bucket):
    """What is there counts by its name: an object is put whole."""
    dest = "s3://pictures/again"
    request = Request(model, ["s3://pictures/in"], dest, shard=2)
    explain_batch(request)
    bucket.invalidate_cache()
    kept = bucket.info(f"{dest}/part-000000-0000.parquet")["LastModified"]
    bucket.rm(f"{dest}/part-000001-0000.parquet")
    assert explain_batch(request).pictures == 2
    bucket.invalidate_cache()
    assert bucket.info(f"{dest}/part-000000-0000.parquet")["LastModified"] == kept
    assert [said(row) for row in rows("pictures/again", filesystem=bucket)] == wanted
    with pytest.raises(rc.OptionError, match="shard was 2, is 3"):
        explain_batch(Request(model, ["s3://pictures/in"], dest, shard=3))


@pytest.mark.parametrize(("source", "dest"), [
    ("s3://nowhere/in", "s3://pictures/no"), ("s3://pictures/in", "s3://nowhere/out"),
])  # fmt: skip
def test_a_bucket_that_is_not_there_is_said(source, dest, wanted, model):
    with pytest.raises(rc.RelcamError, match=r"s3://nowhere/(in|out)"):
        explain_batch(Request(model, [source], dest))


def test_a_picture_that_has_gone_is_a_row(wanted, model, bucket, monkeypatch):
    from relcam_onnx.batch import stores  # noqa: PLC0415

    listed = stores._remote
    gone = stores.Item("s3://pictures/in/gone.png", 3)
    monkeypatch.setattr(stores, "_remote", lambda source: (listed(source)[0], [*listed(source)[1], gone]))
    explain_batch(Request(model, ["s3://pictures/in"], "s3://pictures/gone"))
    errors = [row["error"] for row in rows("pictures/gone", filesystem=bucket)]
    assert np.flatnonzero(errors).tolist() == [COUNT]
    assert "there is no such file" in errors[COUNT]
