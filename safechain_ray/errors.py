"""What can go wrong, and with which exit code it ends: every error says what, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches

from safechain_ray.likely_keys import name_for_message


def first_line(error: BaseException) -> str:
    """The first line of an error's text without its full stop; the type of an error without text, say MemoryError."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


class SafechainError(Exception):
    """The root of every error that a user can meet; shown without a traceback."""

    exit_code = 1


class InputError(SafechainError):
    """The user's input (a flag, a config file, a data set, a name) is wrong; nothing has been started."""

    exit_code = 2


class UnknownNameError(InputError):
    """A name that the catalog does not hold; the nearest known one is offered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        shown = name_for_message(name)
        near = get_close_matches(shown, names, n=1, cutoff=0.4)
        offer = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"Unknown {kind} {shown!r}.{offer} Known: {', '.join(names) or 'none'}.")


class PlanError(InputError):
    """The cluster can't hold the pools of a run; the message ends with the fix."""


class RunConflictError(InputError):
    """The output folder holds a run of another config."""


class RowError(SafechainError):
    """One row can't be done (an over-long prompt, say); the row records it and the run goes on."""


class BlockedError(RowError):
    """The provider refused the request, or withheld its answer; the row's outcome is `blocked`, with the reason."""


class EngineStartError(SafechainError):
    """An engine did not start; carries the last lines of its log."""


class EngineRefusedError(EngineStartError):
    """A provider refuses every request alike (a wrong key, an unknown model): no row can be done, so the run ends."""


class EngineDiedError(SafechainError):
    """An engine died under its requests; they may be tried again on a new one."""


class SandboxError(SafechainError):
    """No sandbox works on this machine, so no code of a model is run; the message ends with the fix."""


class StallError(SafechainError):
    """No progress for longer than the stall timeout; names the pool."""


class StorageError(SafechainError):
    """The output can't be written or read (permissions, a full disk, an unreachable store)."""


class StoreSilentError(StorageError):
    """An object store did not answer for as long as it was waited for; the same command goes on when it does."""


class OutputHeldError(SafechainError):
    """Another driver works on this output, or has taken it over: this one writes nothing more."""
