"""The kind of file system that a folder lies on, from the kernel's table of mounts."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
OCTAL = re.compile(r"\\([0-7]{3})")


def filesystem_of(folder: Path, mounts: str | None = None) -> str:
    """The type of the innermost mount that holds `folder`, such as "ext4" or "fuse.mount-s3"; "" where none is known.

    `mounts` is the text of `/proc/self/mounts`: device, mount point, type and options, with blanks as `\\040`.
    """
    if mounts is None:
        mounts = MOUNTS.read_text() if MOUNTS.exists() else ""
    resolved = folder.expanduser().resolve()
    innermost, found = Path("/"), ""
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        mount = Path(OCTAL.sub(lambda escape: chr(int(escape[1], 8)), place))
        # Of two mounts on one place the later one is seen.
        if resolved.is_relative_to(mount) and mount.is_relative_to(innermost):
            innermost, found = mount, kind
    return found


def is_fuse(filesystem: str) -> bool:
    """Whether a process in user space serves the files: buckets that are mounted (Mountpoint for S3, gcsfuse)."""
    return filesystem.partition(".")[0] in ("fuse", "fuseblk")
