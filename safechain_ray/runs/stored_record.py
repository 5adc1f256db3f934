"""A record at the top of an output, by whose identity the folder is known to be of this work or of another."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from safechain_ray.errors import RunConflictError
from safechain_ray.runs.changed_results import explained
from safechain_ray.runs.folder import differences
from safechain_ray.storage import Folder, read_checked_tree


class _Identified(BaseModel):
    identity: dict[str, Any]


def stored_record(folder: Folder, name: str, identity: Mapping[str, Any], what: str, fix: str) -> dict[str, Any] | None:
    """The JSON record `name` of `folder`; None where there is none yet. `what` says of what it is ("data set").

    Raises InputError for a file that is no such record, RunConflictError, with the difference and the `fix`, for the
    record of another identity.
    """
    if not folder.exists(name):
        return None
    stored = read_checked_tree(folder, name, _Identified, f"record of a {what}", "give another --output.")
    if found := differences(stored["identity"], identity):
        raise RunConflictError(
            f"{folder} holds another {what}. What differs (there -> here):\n{explained(found)}\n{fix}"
        )
    return stored
