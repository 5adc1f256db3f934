"""Finds the project's own error inside what Ray wraps around it."""

from collections.abc import Iterator

from ray.data.exceptions import SystemException
from ray.exceptions import RayError, RayTaskError

from safechain_ray.errors import SafechainError


def explain(error: BaseException) -> BaseException:
    """The SafechainError at the root of `error`; without one, what was raised on the worker; else `error` itself.

    Ray raises a RayTaskError whose text is a remote traceback and whose `cause` is the original. To errors that are no
    worker's Ray Data gives the cause `SystemException`, an empty mark. What else was being handled when an error was
    raised (its `__context__`: Ray Data ends its loops by StopIteration) is no cause of it, but may hold ours.
    """
    for inside in _inside(error, ("cause", "__cause__", "__context__"), set()):
        if isinstance(inside, SafechainError) and not isinstance(inside, RayTaskError):
            return inside
    causes = _inside(error, ("cause", "__cause__"), set())
    return next((cause for cause in causes if not isinstance(cause, RayError | SystemException)), error)


def _inside(error: BaseException | None, links: tuple[str, ...], seen: set[int]) -> Iterator[BaseException]:
    if not isinstance(error, BaseException) or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for link in links:
        yield from _inside(getattr(error, link, None), links, seen)
