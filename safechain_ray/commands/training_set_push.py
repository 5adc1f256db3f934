"""A built training set put on the Hugging Face hub: its card, its record and its rows, not the run behind them."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from safechain_ray.commands.training_set_folder import RECORD
from safechain_ray.commands.training_set_published import published_record
from safechain_ray.errors import InputError, StorageError
from safechain_ray.storage import Folder, redact

CARD = "README.md"


def check_token() -> None:
    """Raises InputError where nobody is logged in to the hub; nothing is asked of it."""
    from huggingface_hub import get_token

    if get_token() is None:
        raise InputError("--push-to-hub: there is no token. Set HF_TOKEN, or log in with `hf auth login`.")


def push_dataset(folder: Folder, repository: str) -> str:
    """Upload the data set in `folder` as one commit to a data set of the hub, which is made private where it is new.

    Rows of an earlier upload are replaced. The record goes without what says where the set was made. Gives its address.
    Raises StorageError with what the hub said.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    with TemporaryDirectory(prefix="safechain-ray-push-") as place:
        for file in folder.list_facts():
            if file.name == CARD:
                folder.fetch(file, Path(place, CARD))
        record = published_record(json.loads(folder.read_text(RECORD)))
        Path(place, RECORD).write_text(json.dumps(record, indent=2) + "\n")
        rows = folder / "data"
        for file in rows.list_facts():
            target = Path(place, "data", file.name)
            target.parent.mkdir(exist_ok=True)
            rows.fetch(file, target)
        try:
            api = HfApi()
            url = api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
            api.upload_folder(
                repo_id=repository,
                repo_type="dataset",
                folder_path=place,
                delete_patterns="data/*",
                commit_message="Rows, card and record of a data set built by safechain-ray",
            )
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = redact(str(error)).strip().splitlines() or [type(error).__name__]
            raise StorageError(
                f"Can't push {folder} to {repository}: {reason[0]}. The data set is whole in its folder; the same "
                "command pushes it again."
            ) from error
    return str(url)
