"""A run in a bucket is pushed to a folder of the bucket, and exported to it: by a real S3 server."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safechain_ray.library import load_run
from safechain_ray.sharing.push import read_publication, write_to_folder
from safechain_ray.sharing.run import read_shared_run
from safechain_ray.storage import Folder, open_folder
from tests.s3_server import CREDENTIALS, s3_store
from tests.unit.sharing.runs import run_with_later_judge

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    with s3_store() as store:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        yield open_folder(store.uri("bucket"))


@pytest.fixture
def run(bucket: Folder, tmp_path: Path) -> Folder:
    local = run_with_later_judge(tmp_path / "run")
    for file in (each for each in local.rglob("*") if each.is_file()):
        bucket.upload(file, f"run/{file.relative_to(local)}")
    return bucket / "run"


def test_a_run_in_a_bucket_is_published_in_the_bucket(run: Folder, bucket: Folder) -> None:
    target = bucket / "published"
    publication = read_publication(run.uri, "texts", False)
    first = write_to_folder(publication, target.uri, "org/name", lambda name: None)
    assert first.files == 7
    samples = pq.read_table(pa.BufferReader(target.read_bytes("samples/part-00000.parquet")))
    assert samples["prompt_id"].to_pylist() == ["p0", "p1", "p2"]
    assert load_run(target.uri).metrics == load_run(run.uri).metrics
    fewer = write_to_folder(read_publication(run.uri, "figures", False), target.uri, "org/name", lambda name: None)
    assert (fewer.files, fewer.deleted) == (5, 2)


def test_a_run_in_a_bucket_is_exported_to_the_bucket(run: Folder, bucket: Folder) -> None:
    inspect_log = pytest.importorskip("inspect_ai.log", reason="the extra `inspect` is not installed")
    from safechain_ray.sharing.export import export_inspect

    exported = export_inspect(read_shared_run(run.uri), (bucket / "logs").uri, 100, lambda name: None)
    ((name, samples),) = exported.logs.items()
    log = inspect_log.read_eval_log(io.BytesIO((bucket / "logs").read_bytes(name)))
    assert (samples, len(log.samples)) == (3, 3)
