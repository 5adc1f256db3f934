"""Names that come from a bucket, a run's folder or a data set, checked before they become part of a path.

A record that others may write can name `/etc/passwd` or `../../x`. Joined to a folder, such a name leads out of it.
"""

from typing import Annotated

from pydantic import AfterValidator


def stays_inside(name: str) -> bool:
    """Whether `name`, joined to a folder, is a place in that folder: a relative path without `.`, `..` or empty parts.

    Names that no file can have (a NUL, a lone surrogate) don't count as places either.
    """
    plain = all(part not in ("", ".", "..") for part in name.split("/"))
    return plain and "\0" not in name and name == name.encode("utf-8", "replace").decode("utf-8")


def checked_name(name: str) -> str:
    """The name itself. Raises ValueError for one that leads out of its folder."""
    if not stays_inside(name):
        raise ValueError(f"{name!r} is no name inside the folder: it must be a relative path without `..`")
    return name


InsideName = Annotated[str, AfterValidator(checked_name)]
"""The type of a name in a record that is read by pydantic."""
