"""A record at the top of an output, by whose identity the folder is known to be of this work or of another."""

import json
from collections.abc import Mapping
from typing import Any

from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.pipelines.runs.changed_results import explained
from safechain_ray.pipelines.runs.run_folder import differences
from safechain_ray.storage import Folder


def stored_record(
    folder: Folder, name: str, identity: Mapping[str, Any], what: str, mend: str
) -> dict[str, Any] | None:
    """The JSON record `name` of `folder`; None where there is none yet. `what` says of what it is ("data set").

    Raises InputError for a file that is no such record, RunConflictError, with the difference and the `mend`, for the
    record of another identity.
    """
    if not folder.exists(name):
        return None
    try:
        stored: dict[str, Any] = json.loads(folder.read_text(name))
    except ValueError as error:
        raise InputError(f"{folder}/{name} is no valid JSON ({error}).") from error
    if not isinstance(stored, dict) or "identity" not in stored:
        raise InputError(f"{folder}/{name} is no record of a {what}. Give another --output.")
    if found := differences(stored["identity"], identity):
        raise RunConflictError(
            f"{folder} holds another {what}. What differs (there -> here):\n{explained(found)}\n{mend}"
        )
    return stored
