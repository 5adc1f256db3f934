"""Which local disks of a cloud machine are formatted and mounted, and which are left alone."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.cluster import local_disks
from safechain_ray.cluster.local_disks import blank_disks, link_to_mount_of_image, mount_local_disks, run_command

OWNER = (os.getuid(), os.getgid())


class Commands:
    """Notes commands in place of running them; `lsblk` tells of `holdings` by disk."""

    def __init__(self, **holdings: dict[str, Any]) -> None:
        self.holdings = holdings
        self.run: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> str:
        if command[0] != "lsblk":
            self.run.append(list(command))
            return ""
        name = Path(command[-1]).name
        found = {"name": name, "fstype": None, "mountpoints": [None], **self.holdings.get(name, {})}
        return json.dumps({"blockdevices": [found]})


def test_a_disk_of_several_links_is_one_and_partitions_are_none(tmp_path: Path):
    for name in ("nvme1n1", "nvme2n1", "nvme0n1"):
        (tmp_path / name).touch()
    aws = "nvme-Amazon_EC2_NVMe_Instance_Storage_AWS0123456789ABCDEF"
    for link, disk in {
        f"{aws}0": "nvme1n1",
        f"{aws}0_1": "nvme1n1",
        f"{aws}0-part1": "nvme0n1",
        "google-local-nvme-ssd-0": "nvme2n1",
        "nvme-Amazon_Elastic_Block_Store_vol0123": "nvme0n1",
    }.items():
        (tmp_path / link).symlink_to(tmp_path / disk)
    assert local_disks.local_disks(tmp_path) == [str(tmp_path / "nvme1n1"), str(tmp_path / "nvme2n1")]


@pytest.mark.parametrize(
    "holding", [{"fstype": "ext4"}, {"mountpoints": ["/data"]}, {"children": [{"name": "md0"}]}], ids=str
)
def test_a_disk_that_holds_something_is_left_alone(tmp_path: Path, holding: dict[str, Any]):
    commands = Commands(nvme1n1=holding)
    assert blank_disks(["/dev/nvme1n1", "/dev/nvme2n1"], commands) == ["/dev/nvme2n1"]
    said = mount_local_disks(tmp_path / "copies", OWNER, ["/dev/nvme1n1"], commands)
    assert "no empty local disk" in said
    assert (tmp_path / "copies").is_dir()
    assert commands.run == []


def test_one_disk_is_formatted_and_several_are_striped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    one, several = Commands(), Commands()
    mount_local_disks(tmp_path / "a", OWNER, ["/dev/nvme1n1"], one)
    assert one.run == [
        ["mkfs.ext4", "-q", "-m", "0", "/dev/nvme1n1"],
        ["mount", "-o", "discard,noatime", "/dev/nvme1n1", str(tmp_path / "a")],
    ]
    said = mount_local_disks(tmp_path / "b", OWNER, ["/dev/nvme1n1", "/dev/nvme2n1"], several)
    assert [command[0] for command in several.run] == ["apt-get", "apt-get", "mdadm", "mkfs.ext4", "mount"]
    assert several.run[2][-3:] == ["--raid-devices=2", "/dev/nvme1n1", "/dev/nvme2n1"]
    assert said == f"{tmp_path / 'b'} is on 2 local disks (/dev/md/safechain)."


def test_the_mount_of_an_image_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mount, folder = tmp_path / "nvme", tmp_path / "copies"
    mount.mkdir()
    folder.mkdir()
    assert link_to_mount_of_image(folder, OWNER, mount) is None
    monkeypatch.setattr(os.path, "ismount", lambda path: path == mount)
    assert link_to_mount_of_image(folder, OWNER, mount) == f"{folder} is on the local disks at {mount}."
    (folder / "model").touch()
    assert (mount / "copies" / "model").exists()
    assert link_to_mount_of_image(folder, OWNER, mount) is None
    assert "already" in mount_local_disks(folder, OWNER, [], Commands())


@pytest.fixture
def loop_device(tmp_path: Path) -> Iterator[str]:
    """A real block device of 64 MB."""
    if os.getuid() != 0 or shutil.which("losetup") is None:
        pytest.skip("block devices take root and losetup")
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    try:
        device = run_command(["losetup", "--find", "--show", str(image)]).strip()
    except subprocess.CalledProcessError:
        pytest.skip("no loop device here")
    yield device
    run_command(["losetup", "--detach", device])


def test_a_real_disk_is_formatted_mounted_and_left_alone_the_second_time(tmp_path: Path, loop_device: str):
    folder = tmp_path / "copies"
    try:
        said = mount_local_disks(folder, OWNER, [loop_device], run_command)
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("nothing can be mounted here")
    try:
        assert said == f"{folder} is on one local disk ({loop_device})."
        assert os.path.ismount(folder)
        (folder / "model").write_text("weights")
        assert "already" in mount_local_disks(folder, OWNER, [loop_device], run_command)
        assert blank_disks([loop_device], run_command) == []
    finally:
        run_command(["umount", str(folder)])
