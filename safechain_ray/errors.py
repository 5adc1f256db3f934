"""Exception types with their exit codes. Every message states what failed, where, and the fix."""

from collections.abc import Iterable
from difflib import get_close_matches

from safechain_ray.likely_keys import name_for_message


def first_line(error: BaseException) -> str:
    """The first line of an error's text without its full stop; the error's type if it has no text (MemoryError)."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


class SafechainError(Exception):
    """Base class of all errors shown to the user; printed without a traceback."""

    exit_code = 1


class InputError(SafechainError):
    """The user's input (a flag, a config file, a data set, a name) is wrong. Nothing has been started."""

    exit_code = 2


class UnknownNameError(InputError):
    """A name that is not in the catalog. The message suggests the closest known name.

    `other` is what may be given in place of a known name: "a path".
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], other: str = "") -> None:
        names = sorted(known)
        shown = name_for_message(name)
        near = get_close_matches(shown, names, n=1, cutoff=0.4)
        offer = f" Did you mean {near[0]!r}?" if near else ""
        fix = f"give a known name{other and f', or {other}'}" if names else "leave it out"
        super().__init__(f"Unknown {kind} {shown!r}.{offer} Known: {', '.join(names) or 'none'}. Fix: {fix}.")


class StrategyOptionsError(InputError):
    """A strategy does not take these options, or needs one that is missing."""


class PlanError(InputError):
    """The cluster can't place the pools of a run. The message ends with the fix."""


class RunConflictError(InputError):
    """The output folder contains a run with another config."""


class RowError(SafechainError):
    """One row failed (for example an over-long prompt). The row records the error and the run continues."""


class BlockedError(RowError):
    """The provider refused the request or withheld its answer. The row's outcome is `blocked`, with the reason."""


class EngineStartError(SafechainError):
    """An engine did not start. The message contains the last lines of its log."""


class EngineRefusedError(EngineStartError):
    """A provider refuses every request (a wrong key, an unknown model). No row can succeed, so the run ends."""


class EngineDiedError(SafechainError):
    """An engine died with requests in flight, which may be retried on a new engine."""


class SandboxError(SafechainError):
    """No sandbox backend works on this machine, so no code of a model is executed. The message ends with the fix."""


class StallError(SafechainError):
    """No progress for longer than the stall timeout. The message names the pool."""


class StorageError(SafechainError):
    """The output can't be read or written (permissions, a full disk, an unreachable store)."""


class StoreUnavailableError(StorageError):
    """An object store did not answer within the retry time. Rerun the command to resume when it does."""


class OutputLockedError(SafechainError):
    """Another driver owns the lease of this output folder, so this driver writes nothing more."""
