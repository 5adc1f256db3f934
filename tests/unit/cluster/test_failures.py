"""The project's own error is found inside what Ray wraps around it."""

import cloudpickle
import pytest
from ray.data.exceptions import SystemException
from ray.exceptions import ActorDiedError, RayTaskError, UserCodeException

from safechain_ray.cluster.session import explain
from safechain_ray.errors import EngineStartError

ORIGINAL = EngineStartError("the engine did not start: CUDA out of memory")


def from_a_worker(error: BaseException) -> BaseException:
    """As `ray.get` raises it: pickled with its traceback, and a subclass of RayTaskError and of its cause at once."""
    sent = RayTaskError("map(GeneratorWorker)", "Traceback (most recent call last): ...", error)
    raised: BaseException = cloudpickle.loads(cloudpickle.dumps(sent)).as_instanceof_cause()
    return raised


def caused_by(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    "error",
    [
        ORIGINAL,
        from_a_worker(ORIGINAL),
        caused_by(UserCodeException("UDF failed to process a data block."), ORIGINAL),
        caused_by(UserCodeException("UDF failed to process a data block."), from_a_worker(ORIGINAL)),
        caused_by(RuntimeError("the stream ended"), caused_by(UserCodeException(), from_a_worker(ORIGINAL))),
    ],
    ids=["bare", "from a worker", "in a UDF's error", "both", "deeper"],
)
def test_the_error_of_the_project_comes_out_with_its_own_text(error: BaseException):
    found = explain(error)
    assert type(found) is EngineStartError
    assert str(found) == str(ORIGINAL)


def test_an_error_on_a_worker_that_is_not_ours_comes_out_as_it_was_raised_there():
    found = explain(from_a_worker(ValueError("no such column")))
    assert type(found) is ValueError
    assert str(found) == "no such column"


def test_an_error_of_ray_itself_stays_what_it_is():
    error = UserCodeException("UDF failed to process a data block.")
    assert explain(error) is error


def test_the_mark_of_ray_data_on_errors_of_ray_is_not_taken_for_the_error():
    error = caused_by(ActorDiedError(), SystemException())
    assert explain(error) is error


def test_what_ray_handled_when_it_met_the_error_is_not_taken_for_it():
    error = ActorDiedError()
    error.__context__ = StopIteration()
    assert explain(error) is error


def test_errors_that_are_each_others_context_end():
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert explain(first) is first
