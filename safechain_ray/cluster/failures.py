"""Unwraps Ray's exceptions: finds the project's own error among causes and contexts."""

from collections.abc import Iterator

from ray.data.exceptions import SystemException
from ray.exceptions import RayError, RayTaskError

from safechain_ray.errors import SafechainError


def explain(error: BaseException) -> BaseException:
    """The SafechainError inside `error`; without one, the exception that a worker raised; else `error` itself.

    Ray raises a RayTaskError, whose text is a remote traceback and whose `cause` is the original exception. Ray Data
    gives errors outside of workers the cause `SystemException`, an empty marker. The `__context__` of an error is not
    its cause (Ray Data ends its loops by StopIteration), but may contain a SafechainError.
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
