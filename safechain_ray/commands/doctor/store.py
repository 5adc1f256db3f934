"""The doctor on a model whose files lie in an object store: loads the small ones, asks how large the others are."""

import os
from collections.abc import Generator
from shutil import disk_usage
from typing import Any

from safechain_ray.commands.doctor.files import GIGABYTE, existing, load
from safechain_ray.commands.doctor.finding import Finding, Subject
from safechain_ray.engines.stored_weights import COPIES, StoredModel, copies_folder
from safechain_ray.storage import redact


def stored_findings(subject: Subject, uri: str) -> Generator[Finding, None, tuple[Any | None, Any | None]]:
    """Gives tokenizer and config, None for what does not load. Raises what `StoredModel.at` raises."""
    stored = StoredModel.at(uri)
    yield subject.ok("access", f"{redact(uri)} lists its files; a cluster needs the rights on its own nodes")
    with stored.without_weights() as folder:
        found, tokenizer = load(subject, "tokenizer", str(folder), None, from_hub=False)
        yield found
        found, config = load(subject, "config", str(folder), None, from_hub=False)
        yield found
    yield check_room_for_copy(subject, stored)
    return tokenizer, config


def check_room_for_copy(subject: Subject, stored: StoredModel) -> Finding:
    """Room for the copy that this node would keep, where it has none."""
    copies = copies_folder()
    size = f"{stored.weight_bytes / GIGABYTE:.3g} GB"
    if (copies / stored.copy_name).is_dir():
        return subject.ok("weights", f"{size}, fetched already")
    free = disk_usage(existing(copies)).free
    detail = f"{size} to fetch, once a node; {free / GIGABYTE:.0f} GB free at {copies}"
    if stored.size <= free:
        return subject.ok("weights", detail)
    if os.environ.get("RAY_ADDRESS"):
        return subject.warning("weights", detail, "see that the nodes of the cluster have more: the weights go there")
    return subject.failed("weights", detail, f"free some disk, or point {COPIES} to a larger one")
