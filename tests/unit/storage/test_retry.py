"""Retry policy: bounded time, exponential backoff, no retry of final errors, outage notifications."""

import pytest

from safechain_ray.storage import retry as module
from safechain_ray.storage.retry import (
    FINAL,
    MAX_BACKOFF,
    OutageState,
    RetriesExhaustedError,
    RetryPolicy,
    backoff,
    explained,
    store_error_of,
)


class Time:
    """Passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    passing = Time()
    monkeypatch.setattr(module, "time", passing)
    return passing


class Store:
    """Fails so many times, or always."""

    def __init__(self, failures: float, error: str = "AWS Error SERVICE_UNAVAILABLE during PutObject") -> None:
        self.failures = failures
        self.error = error
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            raise OSError(self.error)
        return "done"


def test_what_passes_is_tried_until_it_has_passed(clock: Time) -> None:
    store = Store(failures=5)
    assert RetryPolicy(60).call(store) == "done"
    assert store.asked == 6


def test_the_time_is_bounded(clock: Time) -> None:
    store = Store(failures=float("inf"))
    with pytest.raises(RetriesExhaustedError, match="has not answered for 10 minutes"):
        RetryPolicy(600).call(store)
    assert clock.now - 1000 == pytest.approx(600)
    assert 600 / MAX_BACKOFF <= store.asked < 150


def test_no_patience_is_one_try_and_the_bare_reason(clock: Time) -> None:
    store = Store(failures=1, error="connection refused")
    with pytest.raises(RetriesExhaustedError, match=r"^connection refused$"):
        RetryPolicy(0).call(store)
    assert store.asked == 1


def test_who_comes_late_to_an_outage_does_not_wait_as_long_again(clock: Time) -> None:
    outage = OutageState()
    with pytest.raises(RetriesExhaustedError):
        RetryPolicy(60, outage).call(Store(failures=float("inf")))
    late = Store(failures=float("inf"))
    with pytest.raises(RetriesExhaustedError):
        RetryPolicy(60, outage).call(late)
    assert late.asked == 1


@pytest.mark.parametrize("code", ["ACCESS_DENIED", "NO_SUCH_BUCKET", "SIGNATURE_DOES_NOT_MATCH"])
def test_what_can_not_pass_is_not_tried_again(clock: Time, code: str) -> None:
    store = Store(failures=1, error=f"When writing: AWS Error {code} during PutObject operation: no.")
    with pytest.raises(OSError, match=code):
        RetryPolicy(60).call(store)
    assert store.asked == 1


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (OSError("AWS Error SLOW_DOWN during PutObject operation"), False),
        (OSError("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7"), False),
        (OSError("AWS Error UNKNOWN (HTTP status 502) during PutObject operation"), False),
        (OSError("AWS Error UNKNOWN (HTTP status 400) during PutObject operation"), True),
        (OSError("google::cloud::Status(UNAVAILABLE: try later)"), False),
        (OSError("google::cloud::Status(PERMISSION_DENIED: no)"), True),
        (FileNotFoundError(2, "no"), True),
        (OSError(28, "no space"), True),
        (ConnectionResetError(104, "reset"), False),
    ],
)
def test_errors_are_told_apart(error: OSError, final: bool) -> None:
    assert store_error_of(error).final is final


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(f"When writing: AWS Error {code} during PutObject operation: no.") for code in FINAL),
        OSError("google::cloud::Status(UNAVAILABLE: try later)"),
        FileNotFoundError(2, "no"),
        PermissionError(13, "no"),
        OSError(28, "no space"),
        OSError(30, "read-only"),
        NotADirectoryError(20, "no"),
        OSError("its size differs. Fix: rerun"),
        RetriesExhaustedError("no answer"),
    ],
)
def test_each_error_is_explained_with_one_fix(error: OSError) -> None:
    text = explained(store_error_of(error), str)
    assert text.count("Fix: ") == 1
    assert text.endswith(".")
    assert ".." not in text


def test_a_blip_is_not_told_and_a_silence_is_told_once_with_its_end(clock: Time) -> None:
    said: list[str] = []
    RetryPolicy(60, OutageState(said.append)).call(Store(failures=1))
    assert said == []
    RetryPolicy(600, OutageState(said.append, 600)).call(Store(failures=20))
    assert len(said) == 2
    assert "has not answered since 00:16:" in said[0]
    assert "for up to 10 minutes" in said[0]
    assert "answers again, after" in said[1]


def test_who_tries_once_tells_how_long_the_others_wait(clock: Time) -> None:
    said: list[str] = []
    outage = OutageState(said.append, 600)
    for _ in range(5):
        with pytest.raises(RetriesExhaustedError):
            RetryPolicy(0, outage).call(Store(failures=1))
        clock.sleep(2)
    assert len(said) == 1
    assert "for up to 10 minutes" in said[0]


def test_pauses_grow_to_a_limit_and_differ() -> None:
    assert all(backoff(failures) <= MAX_BACKOFF for failures in range(50))
    assert max(backoff(1) for _ in range(50)) < min(backoff(20) for _ in range(50))
    assert len({backoff(20) for _ in range(10)}) > 1
