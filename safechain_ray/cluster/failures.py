"""Finds the project's own error inside what Ray wraps around it."""

from collections.abc import Iterator

from safechain_ray.errors import SafechainError


def explain(error: BaseException) -> BaseException:
    """The SafechainError at the root of `error`, else `error` itself."""
    for cause in _causes(error, set()):
        if isinstance(cause, SafechainError):
            # Ray makes errors that are a RayTaskError and the original at once; their text is a traceback.
            original = getattr(cause, "cause", None)
            return original if isinstance(original, SafechainError) else cause
    return error


def _causes(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if not isinstance(error, BaseException) or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for inner in (getattr(error, "cause", None), error.__cause__, error.__context__):
        yield from _causes(inner, seen)
