"""Mounts the local NVMe disks of a cloud machine as one file system, for copies of model weights.

    sudo python -m safechain_ray.cluster.local_disks ~/copies

The weights of a 70B model do not fit a system disk beside the packages, and reading them from it is slow. The local
disks of a machine are fast, come with it, and are empty at each start.

1. A disk is used only if it is one of the cloud's local disks and has no file system, no partition and no mount.
2. Several disks become one stripe (RAID 0, by mdadm).
3. AWS's own GPU image mounts the disks by itself: the folder then becomes a link into that mount.
4. Without such a disk the folder stays on the system disk, and the command reports it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click

BY_ID = Path("/dev/disk/by-id")

LOCAL_DISKS = ("nvme-Amazon_EC2_NVMe_Instance_Storage_*", "google-local-nvme-ssd-*")
"""Links to local disks that udev creates on AWS and Google Cloud; a disk may have several."""

MOUNT_OF_IMAGE = Path("/opt/dlami/nvme")
"""Where the image "Deep Learning Base OSS Nvidia Driver GPU AMI" of AWS mounts the disks."""

SERVICE_OF_IMAGE = "dlami-nvme"
"""The image's service that mounts the disks. It may end after the first login; `systemctl start` waits for it."""

STRIPE = "/dev/md/safechain"

Run = Callable[[Sequence[str]], str]
"""Runs a command, and returns its output. Raises subprocess.CalledProcessError."""


def run_command(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def local_disks(by_id: Path = BY_ID) -> list[str]:
    """The local disks of this machine, each once: `/dev/nvme1n1`."""
    links = (link for pattern in LOCAL_DISKS for link in by_id.glob(pattern) if "-part" not in link.name)
    return sorted({str(link.resolve()) for link in links})


def blank_disks(disks: Iterable[str], run: Run) -> list[str]:
    """The empty disks: without file system, partition, stripe and mount."""
    blank = []
    for disk in disks:
        (found,) = json.loads(run(["lsblk", "--json", "--output", "NAME,FSTYPE,MOUNTPOINTS", disk]))["blockdevices"]
        if not found.get("children") and not found["fstype"] and not any(found["mountpoints"]):
            blank.append(disk)
    return blank


def mount_local_disks(folder: Path, owner: tuple[int, int], disks: Sequence[str], run: Run) -> str:
    """Mount the empty disks among `disks` at `folder`, with this owner (uid, gid). Returns a sentence for the log."""
    if os.path.ismount(folder) or folder.is_symlink():
        return f"{folder} is on the local disks already."
    blank = blank_disks(disks, run)
    folder.mkdir(parents=True, exist_ok=True)
    if not blank:
        os.chown(folder, *owner)
        return f"This machine has no empty local disk: {folder} stays on the system disk."
    device = blank[0] if len(blank) == 1 else _create_stripe(blank, run)
    run(["mkfs.ext4", "-q", "-m", "0", device])
    run(["mount", "-o", "discard,noatime", device, str(folder)])
    os.chown(folder, *owner)
    return f"{folder} is on {'one local disk' if len(blank) == 1 else f'{len(blank)} local disks'} ({device})."


def link_to_mount_of_image(folder: Path, owner: tuple[int, int], mount: Path = MOUNT_OF_IMAGE) -> str | None:
    """Make `folder` a link into the mount of the machine's image; None where there is no such mount."""
    if not os.path.ismount(mount) or folder.is_symlink():
        return None
    inside = mount / folder.name
    inside.mkdir(exist_ok=True)
    os.chown(inside, *owner)
    if folder.is_dir():
        folder.rmdir()
    folder.symlink_to(inside)
    return f"{folder} is on the local disks at {mount}."


def _create_stripe(disks: Sequence[str], run: Run) -> str:
    if shutil.which("mdadm") is None:
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", "mdadm"])
    count = f"--raid-devices={len(disks)}"
    run(["mdadm", "--create", STRIPE, "--level=0", "--run", "--force", "--homehost=any", count, *disks])
    return STRIPE


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    owner = int(os.environ.get("SUDO_UID", os.getuid())), int(os.environ.get("SUDO_GID", os.getgid()))
    subprocess.run(["systemctl", "start", SERVICE_OF_IMAGE], check=False, stderr=subprocess.DEVNULL)
    sentence = link_to_mount_of_image(folder, owner) or mount_local_disks(folder, owner, local_disks(), run_command)
    click.echo(sentence)


if __name__ == "__main__":
    main()
