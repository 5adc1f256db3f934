"""Lease of an output folder: one driver at a time writes to it; a dead driver's lease expires in 30 seconds.

The lease is a small file (`_lease.json`, ignored by readers of the folder) with a random token of its driver. A
heartbeat thread of the driver rewrites it every few seconds with a higher number. Another driver that finds the file
watches its content. Changing content means a living driver, and the second driver is refused. Content unchanged for the
duration of the lease means a dead driver, and the second driver replaces the lease. Clocks of two machines are never
compared. A driver of this machine whose process has ended is detected at once.

Guarantees:
1. At most one driver believes that it owns the folder, except for up to one renewal interval. pyarrow has no
   conditional write for object stores, and not every store checks the condition. So a driver writes its token and reads
   it back after a delay. Of two drivers that start together, the later writer keeps the lease. If the earlier driver
   read back too soon (a write took longer than the delay), it finds the other token at its next renewal and ends.
2. A driver that missed its renewals (paused, cut off) checks the lease before each further write, and ends when another
   driver owns it.

Known trade-offs:
- A write already in progress when a lease is lost is not cancelled, nor are commits of the driver's workers. Sample
  files are named by the ids of their rows, so equal rows overwrite each other. The next driver removes other
  duplicates.

Scope: the lease prevents mistakes. It is no access control: every user with write access can replace it.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from safechain_ray.errors import OutputLockedError, StorageError
from safechain_ray.storage.folder import Folder
from safechain_ray.storage.retry import Report, in_words

LEASE_FILE = "_lease.json"

_held_here: set[str] = set()
"""Tokens of the leases owned by this process."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Times in seconds: expiry of an unchanged lease, renewal interval, delay before a new token is read back."""

    lasts: float = 30.0
    renew_interval: float = 5.0
    confirm_delay: float = 1.0
    local_confirm_delay: float = 0.05


@dataclass(frozen=True, slots=True)
class Holder:
    """The content of a lease file. `machine` and `process_started` identify a process of this machine."""

    token: str
    host: str
    process: int
    since: str
    lasts: Annotated[float, Field(gt=0, lt=3600)]
    machine: str
    process_started: str
    renewed: int = 0

    @classmethod
    def this_process(cls, lasts: float) -> "Holder":
        return cls(
            token=token_hex(8),
            host=socket.gethostname(),
            process=os.getpid(),
            since=_utc(time.time()),
            lasts=lasts,
            machine=_machine(),
            process_started=_process_started(os.getpid()),
        )

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"

    @property
    def is_gone(self) -> bool:
        """Whether the process is known to have ended. False for processes of other machines."""
        if self.machine != _machine():
            return False
        if self.process == os.getpid() and self.process_started == _process_started(self.process):
            return self.token not in _held_here
        return self.process_started != _process_started(self.process)


class Lease:
    """A folder's lease, owned by this driver from `acquire` to `release`. `acquire_lease` calls both."""

    def __init__(self, folder: Folder, timing: Timing) -> None:
        self._folder = folder
        self._timing = timing
        self._holder = Holder.this_process(timing.lasts)
        self._renewed = 0
        self._confirmed = 0.0
        self._lost: str | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_ended, name="lease", daemon=True)

    def acquire(self, report: Report) -> None:
        """Write the lease, after waiting for a dead driver's lease to expire.

        Raises:
            OutputLockedError: another driver is running in this folder.
        """
        found = self._read()
        if found is not None:
            self._wait_until_free(found, report)
        _held_here.add(self._holder.token)
        self._write()
        time.sleep(self._timing.local_confirm_delay if self._folder.is_local else self._timing.confirm_delay)
        now = self._read()
        if not self._is_own(now):
            _held_here.discard(self._holder.token)
            raise self._refusal(now, "it started at the same moment")
        self._thread.start()

    def release(self) -> None:
        """Stop the renewals and delete the lease if this driver still owns it. The next driver then need not wait."""
        self._ended.set()
        self._thread.join(self._timing.renew_interval)
        _held_here.discard(self._holder.token)
        if self._lost is None:
            with suppress(StorageError), self._lock:
                once = self._folder.without_retry()
                if self._is_own(_read(once)):
                    once.delete(LEASE_FILE)

    def check(self) -> None:
        """Check that this driver still owns the lease.

        A lease renewed recently can't have been replaced, so nothing is read. Otherwise the lease is renewed, with the
        retries of the folder.

        Raises:
            OutputLockedError: another driver owns the lease, or the lease was deleted.
        """
        if self._lost is None and _clock() - self._confirmed >= self._timing.lasts:
            self._renew(self._folder)
        if self._lost is not None:
            raise OutputLockedError(self._lost)

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(self._seconds_to_renewal()) and self._lost is None:
            with suppress(StorageError):
                self._renew(self._folder.without_retry())

    def _seconds_to_renewal(self) -> float:
        """Seconds until the next renewal; shorter during an outage, to notice its end."""
        every = self._timing.renew_interval
        return min(1.0, every) if self._folder.is_unavailable else every

    def _renew(self, folder: Folder) -> None:
        with self._lock:
            if self._lost is not None or self._ended.is_set():
                return
            found = _read(folder)
            if self._is_own(found):
                self._write(folder)
                return
            by = "the lease is gone: another driver owned it and has ended, or somebody deleted it"
            if found is not None:
                by = f"{_holder_of(found) or 'another driver'}, owns the lease"
            self._lost = (
                f"This driver has lost {self._folder}: {by}. This happens when a driver does not renew its lease for "
                f"{in_words(self._timing.lasts)} (paused, or cut off from the store). It writes nothing more. "
                "Completed work is saved. Fix: rerun the command to resume once the other driver has ended."
            )

    def _wait_until_free(self, found: bytes, report: Report) -> None:
        """Watch the lease until it expires. Raises OutputLockedError if it is renewed meanwhile."""
        holder = _holder_of(found)
        if holder is not None and holder.is_gone:
            return
        lasts = self._timing.lasts if holder is None else holder.lasts
        report(
            f"{self._folder} is locked by {holder or 'another driver'}. If it does not renew its lease for "
            f"{in_words(lasts)}, this driver takes over."
        )
        free_at = _clock() + lasts
        while (now := _clock()) < free_at:
            time.sleep(min(self._timing.renew_interval / 5, free_at - now))
            asked = _clock()
            seen = self._read()
            if seen is None:
                return
            if seen != found:
                raise self._refusal(seen, f"it renewed its lease at {_utc(time.time())}")
            if _clock() - asked > lasts / 3:
                free_at = _clock() + lasts  # nobody could renew during an outage of the store

    def _refusal(self, content: bytes | None, sign: str) -> OutputLockedError:
        holder = None if content is None else _holder_of(content)
        lasts = self._timing.lasts if holder is None else holder.lasts
        return OutputLockedError(
            f"{self._folder} is locked by another driver: {holder or 'unknown'}; {sign}. Its lease expires at "
            f"{_utc(time.time() + lasts)} unless it is renewed. Fix: let that driver end, or stop it and rerun this "
            "command; give another run another --output."
        )

    def _is_own(self, content: bytes | None) -> bool:
        holder = None if content is None else _holder_of(content)
        return holder is not None and holder.token == self._holder.token

    def _read(self) -> bytes | None:
        return _read(self._folder)

    def _write(self, folder: Folder | None = None) -> None:
        asked = _clock()
        content = {**asdict(self._holder), "renewed": self._renewed}
        (folder or self._folder).write_text(LEASE_FILE, json.dumps(content, indent=2) + "\n")
        self._renewed += 1
        self._confirmed = asked


@contextmanager
def acquire_lease(folder: Folder, report: Report, timing: Timing | None = None) -> Iterator[Folder]:
    """Own the folder's lease for the length of a `with` block. The lease is checked before every write to the folder.

    `report` is called with a sentence when a possibly dead driver's lease has to expire first.

    Raises:
        OutputLockedError: another driver is running in this folder.

    Example:
        >>> from tempfile import mkdtemp
        >>> from safechain_ray.storage.folder import open_folder
        >>> with acquire_lease(open_folder(mkdtemp()), print) as folder:
        ...     folder.write_text("notes.txt", "written by this driver alone")
    """
    lease = Lease(folder, timing or Timing())
    lease.acquire(report)
    try:
        yield folder.guarded(lease.check)
    finally:
        lease.release()


def _read(folder: Folder) -> bytes | None:
    try:
        return folder.read_bytes(LEASE_FILE)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _holder_of(content: bytes) -> Holder | None:
    """The owner of the lease; None where this version can't parse the file."""
    try:
        return TypeAdapter(Holder).validate_json(content)
    except ValidationError:
        return None


def _machine() -> str:
    """An identity shared by processes that see the same process ids, until the machine reboots."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return token_hex(8)  # unknown: equal to no other process's machine


def _process_started(process: int) -> str:
    """Start time of the process in clock ticks since boot; empty where there is no such process."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A monotonic clock that includes the time that the machine sleeps: macOS has no other monotonic clock."""


def _clock() -> float:
    return time.clock_gettime(CLOCK)


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
