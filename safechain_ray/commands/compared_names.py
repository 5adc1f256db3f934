"""What runs that are compared are called: by their models, by their folders where models repeat."""

from collections.abc import Sequence

from safechain_ray.storage import Folder


def distinct_names(folders: Sequence[Folder], models: Sequence[str]) -> Sequence[str]:
    """A name for each run that tells it from the others: its model, or its folder's name, or its URI."""
    last = [folder.path.rstrip("/").rpartition("/")[2] for folder in folders]
    return next((names for names in (models, last) if len(set(names)) == len(names)), list(map(str, folders)))
