"""Finds the project's own error inside what Ray wraps around it."""

from collections.abc import Iterator

from ray.exceptions import RayError, RayTaskError

from safechain_ray.errors import SafechainError


def explain(error: BaseException) -> BaseException:
    """The SafechainError at the root of `error`; without one, what was raised on the worker; else `error` itself.

    Ray raises a RayTaskError whose text is a remote traceback and whose `cause` is the original.
    """
    causes = list(_causes(error, set()))
    for cause in causes:
        if isinstance(cause, SafechainError) and not isinstance(cause, RayTaskError):
            return cause
    originals = [cause for cause in causes if not isinstance(cause, RayError)]
    return originals[0] if originals else error


def _causes(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if not isinstance(error, BaseException) or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for inner in (getattr(error, "cause", None), error.__cause__, error.__context__):
        yield from _causes(inner, seen)
