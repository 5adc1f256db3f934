"""The lease of a folder: one driver at a time writes into it, and a dead one's place is taken in half a minute.

The lease is a small file (`_lease.json`, which readers of the folder pass over) with a token of its driver's. While the
driver lives a thread writes it anew every few seconds with a higher number. Another driver that finds it watches it:
content that changes is a living driver's, and the newcomer is refused; content that has not changed for as long as the
lease says is a dead one's, and the newcomer takes its place. No clock is compared with another machine's. A driver of
this machine whose process is gone is not waited for.

What it guarantees, and what not:
- Object stores as pyarrow speaks to them have no "write only if nothing is there". A driver writes its token and reads
  it back after a pause: of two that start together the later writer stays. Should the earlier one have read back before
  that (a write under way for longer than the pause), it finds the other's token when it next renews, and ends. So two
  drivers may both believe to hold a folder for the length of a renewal, not for longer.
- A driver that has not renewed in time (paused, cut off) asks the store before each further change, and ends when the
  lease is another's. A change that is under way at that moment is not called back, nor is what its workers are
  committing: files of samples are named by their ids, so the same rows replace themselves, and what stands twice
  nonetheless is put in order by the next driver.
- It guards against mistakes, not against enemies: whoever may write the folder may write the lease.
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

from safechain_ray.errors import OutputHeldError, StorageError
from safechain_ray.storage.folder import Folder
from safechain_ray.storage.retry import Report, in_words

LEASE_FILE = "_lease.json"

_held_here: set[str] = set()
"""Tokens of the leases that this process holds."""


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds: how long an unchanged lease stands, how often it is renewed, how long a first token must stay."""

    lasts: float = 30.0
    renewed_every: float = 5.0
    settles: float = 1.0
    settles_on_disk: float = 0.05


@dataclass(frozen=True, slots=True)
class Holder:
    """The content of a lease. `machine` and `process_started` tell whether a process of this machine still lives."""

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
        """Whether it is known to have ended; False also where nothing can be known from here."""
        if self.machine != _machine():
            return False
        if self.process == os.getpid() and self.process_started == _process_started(self.process):
            return self.token not in _held_here
        return self.process_started != _process_started(self.process)


class Lease:
    """A folder's lease, held by this driver from `take` to `release`; `hold` does both."""

    def __init__(self, folder: Folder, timing: Timing) -> None:
        self._folder = folder
        self._timing = timing
        self._holder = Holder.this_process(timing.lasts)
        self._renewed = 0
        self._confirmed = 0.0
        self._lost: str | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_for_ever, name="lease", daemon=True)

    def take(self, report: Report) -> None:
        """Take the lease, after waiting for that of a driver which is not heard of any more.

        Raises OutputHeldError where another driver is at work.
        """
        found = self._read()
        if found is not None:
            self._wait_until_free(found, report)
        _held_here.add(self._holder.token)
        self._write()
        time.sleep(self._timing.settles_on_disk if self._folder.is_local else self._timing.settles)
        now = self._read()
        if not self._is_own(now):
            _held_here.discard(self._holder.token)
            raise self._refusal(now, "it came at the same moment")
        self._thread.start()

    def release(self) -> None:
        """End the renewals and, where the lease is still this driver's, delete it: the next one need not wait."""
        self._ended.set()
        self._thread.join(self._timing.renewed_every)
        _held_here.discard(self._holder.token)
        if self._lost is None:
            with suppress(StorageError), self._lock:
                once = self._folder.impatient()
                if self._is_own(_read(once)):
                    once.delete(LEASE_FILE)

    def check(self) -> None:
        """Raises OutputHeldError where the lease may not be this driver's any more.

        Within the time that a renewal lasts nobody else takes it, and nothing is asked. After that the store is asked,
        for as long as the folder is patient.
        """
        if self._lost is None and _clock() - self._confirmed >= self._timing.lasts:
            self._renew(self._folder)
        if self._lost is not None:
            raise OutputHeldError(self._lost)

    def _renew_for_ever(self) -> None:
        while not self._ended.wait(self._next_in()) and self._lost is None:
            with suppress(StorageError):
                self._renew(self._folder.impatient())

    def _next_in(self) -> float:
        """Seconds until the next renewal; a store that was silent is asked sooner, to learn when it is back."""
        every = self._timing.renewed_every
        return min(1.0, every) if self._folder.is_silent else every

    def _renew(self, folder: Folder) -> None:
        with self._lock:
            if self._lost is not None or self._ended.is_set():
                return
            found = _read(folder)
            if self._is_own(found):
                self._write(folder)
                return
            by = "it is gone: another driver had it and has ended, or somebody deleted it"
            if found is not None:
                by = f"{_holder_of(found) or 'another driver'}, has it"
            self._lost = (
                f"This driver has lost {self._folder}: {by}. That happens to one that was not heard of for "
                f"{in_words(self._timing.lasts)} (paused, or cut off from the store). It writes nothing more; what it "
                "did is kept, and the same command goes on once the other has ended."
            )

    def _wait_until_free(self, found: bytes, report: Report) -> None:
        """Watch until nobody can be behind the lease. Raises OutputHeldError where somebody is."""
        holder = _holder_of(found)
        if holder is not None and holder.is_gone:
            return
        lasts = self._timing.lasts if holder is None else holder.lasts
        report(
            f"{self._folder} is held by {holder or 'another driver'}. If nothing is heard of it for {in_words(lasts)}, "
            "this one takes its place."
        )
        free_at = _clock() + lasts
        while (now := _clock()) < free_at:
            time.sleep(min(self._timing.renewed_every / 5, free_at - now))
            asked = _clock()
            seen = self._read()
            if seen is None:
                return
            if seen != found:
                raise self._refusal(seen, f"it renewed its lease at {_utc(time.time())}")
            if _clock() - asked > lasts / 3:
                free_at = _clock() + lasts  # while the store was silent nobody could renew

    def _refusal(self, content: bytes | None, sign: str) -> OutputHeldError:
        holder = None if content is None else _holder_of(content)
        lasts = self._timing.lasts if holder is None else holder.lasts
        return OutputHeldError(
            f"{self._folder} is held by another driver: {holder or 'unknown'}; {sign}. Its lease runs out at "
            f"{_utc(time.time() + lasts)} if it is not heard of any more. Let it end, or stop it and start this again; "
            "another run needs another --output."
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
def hold(folder: Folder, report: Report, timing: Timing | None = None) -> Iterator[Folder]:
    """The folder for this driver alone: before each change it is made sure that no other driver took its place.

    `report` hears of a wait for a driver that may be dead. Raises OutputHeldError where another is at work.
    """
    lease = Lease(folder, timing or Timing())
    lease.take(report)
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
    """Who holds it; None where the file is no lease that this version reads."""
    try:
        return TypeAdapter(Holder).validate_json(content)
    except ValidationError:
        return None


def _machine() -> str:
    """The same for processes that see the same process ids, until the machine starts anew."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return token_hex(8)  # nothing can be known of other processes then


def _process_started(process: int) -> str:
    """When the process started, in ticks since the machine did; empty where there is none."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def _clock() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
