"""By what a model's weights are known: a folder may hold others under the same name later."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from safechain_ray.engines.stored_weights import WEIGHTS, StoredModel
from safechain_ray.engines.weights import is_stored, weights_location
from safechain_ray.types import short_hash

LOCAL_WEIGHTS = (WEIGHTS, ".bin")

PIECES, PIECE_BYTES = 64, 2**16
"""What is read of a file: so many pieces of that size, evenly over it; of a smaller one all."""


def weights_fingerprint(source: str) -> str | None:
    """Another one where a file of weights has another name, size or content; None for an id of the hub.

    Of a large local file a part of the bytes is read, alike in copies of it. Of an object store its listing is asked,
    with times: the same weights, uploaded again, count as others there.
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
        for start, length in _pieces(path.stat().st_size):
            file.seek(start)
            digest.update(file.read(length))
    return digest.hexdigest()


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    """Where each piece begins, and its length; the first is at the beginning, the last at the end."""
    if size <= PIECES * PIECE_BYTES:
        yield 0, size
        return
    for number in range(PIECES):
        yield number * (size - PIECE_BYTES) // (PIECES - 1), PIECE_BYTES
