"""Parts of an identity: marks of changed results, and a content fingerprint of model weights.

A mark shows that a version changed the results of a run. Only the runs concerned have one, and an older folder of such
a run is refused with the reason. The fingerprint prevents that a run is resumed with other weights under the same path.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from safechain_ray.decoding.base import strategies
from safechain_ray.engines.weights import WEIGHTS, StoredModel, is_stored, weights_location
from safechain_ray.types import Setting, short_hash

CALL_SEEDS = "morethink_seeds"

PUBLISHED_BOS = "morethink_bos"

ALIKE_APOSTROPHES = "apostrophes alike"

READING = 2
"""Version of the rules that divide a response into thought and answer. Rows of different versions are never mixed."""

_READING_KEY = r"^(run\.|run_[ab]\.)?(model\.)?reading: "

_REASONS = {  # by a pattern of the line that has the mark
    CALL_SEEDS: (
        "The derivation of morethink's seeds has changed: earlier versions sent the same seed with every call of a "
        "sample, so that its rounds repeated each other. Now each call has its own seed."
    ),
    PUBLISHED_BOS: "morethink with compat: paper now sends BOS twice, as the published code does.",
    _READING_KEY: (
        "The rules that divide a response into thought and answer have changed: a thinking tag that a text names in "
        "prose no longer ends or opens a thought."
    ),
    ALIKE_APOSTROPHES: "refusal-match now finds a phrase with ' also where a text has ’ in its place.",
}

_SETTINGS = re.compile(r"(^|\.)settings\b.*: ")

_NEVER_MIXED = (
    "Rows of both kinds are never mixed, so that a rerun needs another --output. "
    "`report` and `compare` still read the older folder."
)


LONGEST_NAME = 100
"""Characters: file systems allow 255 bytes for a name."""


def name_of(subject: str, identity: Mapping[str, Any]) -> str:
    """A folder name for a run without `output`: another one for each identity.

    A subject may be any text, such as a path. Its name stays inside the folder of runs.
    """
    name = re.sub(r"[^\w.-]+", "-", subject).strip("-.")[:LONGEST_NAME] or "run"
    return f"{name}-{short_hash(json.dumps(identity, sort_keys=True), characters=8)}"


def decoding_marks(settings: Iterable[Setting]) -> dict[str, str]:
    """The marks of these settings by name; empty if all are decoded as in earlier versions."""
    marks = {}
    for setting in settings:
        if setting.strategy.name != "morethink":
            continue
        if not setting.sampling.greedy:
            marks[CALL_SEEDS] = "one for each call"
        if setting.strategy.options.get("compat") == "paper":
            marks[PUBLISHED_BOS] = "twice"
    return marks


def reading_mark(settings: Iterable[Setting]) -> dict[str, int]:
    """The mark of a local model with thinking tags whose thoughts or answers are used; empty where they are unchanged.

    A strategy that writes the opening tag itself yields the thoughts of earlier versions. With another strategy the
    chat template may write the opening tag, but only the replica reads the template: such runs are marked too.
    """
    known = strategies()
    free = any(entry is None or not entry.needs_tags for entry in (known.get(s.strategy.name) for s in settings))
    return {"reading": READING} if free else {}


def explained(differences: Iterable[str]) -> str:
    """The differences of two identities, one an indented line, and after them the reason for each mark in them."""
    lines = list(differences)
    return "\n".join([*(f"  {line}" for line in lines), *_reasons(lines)])


def _reasons(lines: list[str]) -> Iterator[str]:
    others = (
        {CALL_SEEDS, PUBLISHED_BOS} if any(map(_SETTINGS.search, lines)) else set()
    )  # other strategies, other marks
    marks = {mark: reason for mark, reason in _REASONS.items() if mark not in others}
    found = [reason for mark, reason in marks.items() if any(re.search(mark, line) for line in lines)]
    if found:
        yield from found
        yield _NEVER_MIXED


LOCAL_WEIGHTS = (WEIGHTS, ".bin")

CHUNKS, CHUNK_BYTES = 64, 2**16
"""Chunks that are read of a large file, evenly over it, and their size. A smaller file is read whole."""


def weights_fingerprint(source: str) -> str | None:
    """A fingerprint of the names, sizes and contents of the weights' files; None for an id of the hub.

    A large local file is sampled, at the same offsets in each copy. For an object store the listing with its times is
    used: the same weights, uploaded again, count as others there.
    """
    if is_stored(source):
        return short_hash(*(file for file in StoredModel.at(source).files if file.name.endswith(WEIGHTS)))
    folder = Path(weights_location(source))
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.iterdir() if path.name.endswith(LOCAL_WEIGHTS))
    return short_hash(*((path.name, path.stat().st_size, _content(path)) for path in files))


def _content(path: Path) -> str:
    digest = sha256()
    with open(path, "rb") as file:
        for start, length in _chunks(path.stat().st_size):
            file.seek(start)
            digest.update(file.read(length))
    return digest.hexdigest()


def _chunks(size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each chunk; the first is at the beginning, the last at the end."""
    if size <= CHUNKS * CHUNK_BYTES:
        yield 0, size
        return
    for number in range(CHUNKS):
        yield number * (size - CHUNK_BYTES) // (CHUNKS - 1), CHUNK_BYTES
