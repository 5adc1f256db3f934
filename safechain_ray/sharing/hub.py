"""A data set repository of the Hugging Face hub: it is checked first, and changed by one commit at the end.

Guarantees:
1. Large files are uploaded one at a time, before the commit. A push that fails leaves the repository as it was.
2. Requests that fail with 408, 409, 429 or 5xx, or without a connection, are retried after the time that the hub names,
   else after growing waits. A repeated push does not upload files again that the hub has.
3. A repository that holds anything but a push of the same run is refused before any upload.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, but not in its __all__
    disable_progress_bars,
    parse_ratelimit_headers,
)

from safechain_ray.errors import InputError, StorageError, first_line
from safechain_ray.sharing.files import SharedFile, is_own
from safechain_ray.storage import redact

T = TypeVar("T")

TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""The base class of the HTTP client's errors. The client is another package in other versions of huggingface_hub."""

RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})

LONGEST_WAIT = 300.0
"""Seconds. A longer wait that the hub names ends the push with an error."""

IGNORED = frozenset({".gitattributes"})
"""Files that the hub itself adds to a new repository."""

UNCHANGED = "The run and the files of the repository are unchanged."


@dataclass(frozen=True)
class Waits:
    """When a request is repeated: `attempts` in total, after `first` seconds and twice as long each time."""

    attempts: int = 5
    first: float = 1.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Pushed:
    """The end of a push: the address of the repository, the commit, and what changed."""

    url: str
    commit: str
    files: int
    deleted: int


class HubRepository:
    """A data set repository, which may not exist yet.

    Raises (every method):
        InputError: the name or the token can't be used, or the repository holds something else.
        StorageError: the hub refused, or did not answer within the retries. The message ends with the fix.

    Example:
        >>> repository = HubRepository("org/name")
        >>> repository.prepare(private=None)
        >>> repository.push(shared_files(run, "org/name", contents, terms, workspace), "A run", workspace, print)
    """

    def __init__(self, name: str, waits: Waits | None = None) -> None:
        self.name = name
        self._api = HfApi()
        self._waits = waits or Waits()
        self._files: frozenset[str] = frozenset()
        self._head: str | None = None
        self._private = False
        disable_progress_bars()

    @property
    def url(self) -> str:
        return f"{self._api.endpoint}/datasets/{self.name}"

    def read_record(self, file: str) -> bytes | None:
        """The bytes of `file` in the repository; None for a repository that does not exist, or has no file.

        Raises InputError for a repository without `file` that holds other files.
        """
        if get_token() is None:
            raise InputError(
                "There is no token of the Hugging Face hub. Fix: set HF_TOKEN, or log in with `hf auth login`."
            )
        if not self._look_up():
            return None
        if file in self._files:
            return self.read_file(file)
        if others := sorted(self._files - IGNORED):
            raise InputError(
                f"{self.url} holds other files ({', '.join(others[:3])}), and no run. Fix: name another repository."
            )
        return None

    def read_file(self, file: str) -> bytes | None:
        """The bytes of `file` at the head that `read_record` found; None where it is not there."""
        if file not in self._files:
            return None
        with TemporaryDirectory(prefix="safechain-ray-hub-") as folder:
            path = self._call(
                lambda: self._api.hf_hub_download(
                    self.name, file, repo_type="dataset", revision=self._head, local_dir=folder
                )
            )
            return Path(path).read_bytes()

    def prepare(self, private: bool | None) -> None:
        """Create the repository if it is new: private, unless `private` is False. Its visibility is never changed."""
        if self._head is None:
            self._call(
                lambda: self._api.create_repo(
                    self.name, repo_type="dataset", private=private is not False, exist_ok=True
                )
            )
            self._look_up()
        if private is not None and self._private != private:
            found, asked = ("private", "--public") if self._private else ("public", "--private")
            raise InputError(
                f"{self.url} is {found} already, and a push does not change that. Fix: change its visibility on its "
                f"page, or leave {asked} out."
            )

    def push(self, files: Iterable[SharedFile], message: str, workspace: Path, report: Callable[[str], None]) -> Pushed:
        """Upload the files, then commit them; files of an earlier push that are not among `files` are deleted.

        `report` gets the name of each file before its upload. Files that the hub stores in the commit itself are kept
        in `workspace` until then.
        """
        additions = []
        for number, file in enumerate(files):
            report(file.name)
            kept = file.path.rename(workspace / f"upload-{number}")
            addition = CommitOperationAdd(file.name, str(kept))
            additions.append(addition)
            self._call(
                lambda added=addition: self._api.preupload_lfs_files(  # type: ignore[misc]
                    self.name, [added], repo_type="dataset"
                )
            )
            if addition.path_or_fileobj == b"":  # uploaded: the client has dropped the path
                kept.unlink()
        names = {addition.path_in_repo for addition in additions}
        stale = sorted(name for name in self._files - names if is_own(name))
        deletions = [CommitOperationDelete(name) for name in stale]
        commit = self._commit([*additions, *deletions], message, names, frozenset(stale))
        return Pushed(self.url, commit, len(additions), len(deletions))

    def _commit(
        self,
        operations: list[CommitOperationAdd | CommitOperationDelete],
        message: str,
        names: set[str],
        stale: frozenset[str],
    ) -> str:
        """The id of the commit. A commit whose answer was lost is found by its parent, and not repeated."""
        parent = self._head

        def attempt() -> str:
            self._look_up()
            if self._head is not None and self._head != parent and names <= self._files and not stale & self._files:
                return self._head
            commit = self._api.create_commit(
                self.name, operations, commit_message=message, repo_type="dataset", parent_commit=parent
            )
            return str(commit.oid)

        return self._call(attempt)

    def _look_up(self) -> bool:
        """Read the head and the files of the repository. False if there is no such repository."""
        try:
            info = self._call(lambda: self._api.dataset_info(self.name))
        except RepositoryNotFoundError:
            return False
        self._head = info.sha
        self._private = bool(info.private)
        self._files = frozenset(each.rfilename for each in info.siblings or ())
        return True

    def _call(self, request: Callable[[], T]) -> T:
        """The result of `request`, repeated while the hub asks for it. RepositoryNotFoundError is passed on."""
        wait = self._waits.first
        for attempt in range(1, self._waits.attempts + 1):
            try:
                return request()
            except RepositoryNotFoundError:
                raise
            except (StorageError, InputError):
                raise
            except HFValidationError as error:
                raise InputError(
                    f"{self.name!r} is no name of a repository. Fix: write OWNER/NAME, with letters, digits, -, _ and ."
                ) from error
            except (OSError, TRANSPORT_ERROR, ValueError, RuntimeError) as error:
                pause = _pause(error, wait)
                if pause is None or pause > LONGEST_WAIT or attempt == self._waits.attempts:
                    raise self._explained(error, attempt) from error
                self._waits.sleep(pause)
                wait *= 2
        raise AssertionError("the last attempt returns or raises")

    def _explained(self, error: Exception, attempts: int) -> StorageError:
        reason = redact(first_line(error))
        after = f" after {attempts} attempts" if attempts > 1 else ""
        return StorageError(f"Can't push to {self.url}{after}: {reason}. {UNCHANGED} Fix: {self._fix(error)}")

    def _fix(self, error: Exception) -> str:
        if isinstance(_cause(error, OfflineModeIsEnabled), OfflineModeIsEnabled):
            return "unset HF_HUB_OFFLINE, or write the files to a folder with --output."
        status = _status(error)
        match status:
            case 401:
                return "set HF_TOKEN to a valid token with write access, or log in with `hf auth login`."
            case 403:
                owner = self.name.partition("/")[0]
                return f"use a token that may write to {owner}, or name a repository of an owner that it may write to."
            case 409 | 412:
                return "rerun the command: the repository changed while it was pushed."
            case 413 | 507:
                return "free storage of the owner on the hub, or push less with --include."
            case None if isinstance(_cause(error, TRANSPORT_ERROR), TRANSPORT_ERROR):
                return f"check the network, the proxy and HF_ENDPOINT ({constants.ENDPOINT}), and rerun the command."
            case None:
                return "rerun the command."
        if status in RETRIED:
            return "rerun the command later. Files that the hub has are not uploaded again."
        return "check the name of the repository and the token, and rerun the command."


@contextmanager
def no_repository(repository: HubRepository) -> Iterator[None]:
    """Turn the error of a missing repository into a message: its owner is unknown, or the token may not see it."""
    try:
        yield
    except RepositoryNotFoundError as error:
        raise StorageError(
            f"Can't push to {repository.url}: the hub knows no such repository or owner. {UNCHANGED} Fix: check the "
            "owner's name, and that the token may write to it."
        ) from error


def _pause(error: Exception, wait: float) -> float | None:
    """Seconds until a request that failed with `error` may be repeated; None if it should not be."""
    if _cause(error, OfflineModeIsEnabled):
        return None
    refusal = _cause(error, HfHubHTTPError)
    if not isinstance(refusal, HfHubHTTPError):
        # A proxy in front of a hub that is down answers with a page instead of JSON.
        return wait if _cause(error, TRANSPORT_ERROR) or _cause(error, JSONDecodeError) else None
    if refusal.response.status_code not in RETRIED:
        return None
    headers = refusal.response.headers
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    named = headers.get("Retry-After", "")
    return float(named) if named.isdigit() else wait


def _status(error: Exception) -> int | None:
    refusal = _cause(error, HfHubHTTPError)
    return int(refusal.response.status_code) if isinstance(refusal, HfHubHTTPError) else None


def _cause(error: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """`error`, or the first of its causes, that is of this kind: uploads wrap the errors of their requests."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error
