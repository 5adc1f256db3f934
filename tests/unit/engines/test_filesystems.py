"""Which file system weights lie on, from tables of mounts as nodes of clusters have them."""

from pathlib import Path

import pytest

from safechain_ray.catalog import models
from safechain_ray.engines import vllm_environment
from safechain_ray.engines.start import EngineStart
from safechain_ray.engines.vllm_environment import engine_arguments, filesystem_of, is_fuse

MOUNTS = r"""overlay / overlay rw 0 0
proc /proc proc rw 0 0
mountpoint-s3 /weights fuse.mount-s3 ro 0 0
my-bucket /gcs/my\040bucket fuse.gcsfuse rw 0 0
/dev/nvme1n1 /weights/local ext4 rw 0 0
remote /läufe\040neu fuse.sshfs rw 0 0
server:/export /shared nfs4 rw 0 0
tmpfs /shared tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind", "fuse"),
    [
        ("/weights/hub/models--org--model", "fuse.mount-s3", True),
        ("/weights/local/copy", "ext4", False),
        ("/weights2/model", "overlay", False),
        ("/gcs/my bucket/model", "fuse.gcsfuse", True),
        ("/läufe neu/model", "fuse.sshfs", True),
        ("/shared/model", "tmpfs", False),
        ("/", "overlay", False),
    ],
)
def test_the_innermost_mount_decides(folder: str, kind: str, fuse: bool):
    found = filesystem_of(Path(folder), MOUNTS)
    assert (found, is_fuse(found)) == (kind, fuse)


def test_without_a_table_of_mounts_nothing_is_known():
    assert filesystem_of(Path("/weights"), "") == ""


def test_this_machines_root_has_a_file_system():
    assert filesystem_of(Path("/"))


@pytest.mark.parametrize(("kind", "strategy"), [("fuse.mount-s3", "prefetch"), ("ext4", None)])
def test_weights_of_a_mounted_bucket_are_read_ahead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, strategy: str | None
):
    asked: list[Path] = []
    monkeypatch.setattr(vllm_environment, "filesystem_of", lambda folder: asked.append(folder) or kind)
    monkeypatch.setattr(vllm_environment, "HF_HUB_CACHE", "/weights/hub")
    monkeypatch.setattr(vllm_environment, "available_memory", lambda: 1e12)
    start = EngineStart(models()["R1-7B"], "cuda", tmp_path / "log")

    assert engine_arguments(start, str(tmp_path)).get("safetensors_load_strategy") == strategy
    assert engine_arguments(start, "org/model").get("safetensors_load_strategy") == strategy
    assert asked == [tmp_path, Path("/weights/hub")]
