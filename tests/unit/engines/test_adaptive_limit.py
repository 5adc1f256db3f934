"""The limit of requests at once: grows while all is well, halves once for each overload, and stays in its bounds."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.engines.api_gate import FIRST_LIMIT, AdaptiveLimit, Ticket


class Client:
    """Has always another request to send."""

    def __init__(self, cap: int) -> None:
        self.limit = AdaptiveLimit(cap)
        self.under_way: list[Ticket] = []
        self.send()

    def send(self) -> None:
        while self.limit.wait(0.0) == 0:
            self.under_way.append(self.limit.started())

    def round_trip(self, overloads: int = 0, retry_after: float = 0.0) -> int:
        """All that are under way end, the first `overloads` with an overload; gives the new limit."""
        for number in range(len(self.under_way)):
            ticket = self.under_way.pop(0)
            if number < overloads:
                self.limit.overloaded(ticket, 0.0, retry_after)
            else:
                self.limit.succeeded(ticket)
            self.send()
        return self.limit.limit


def test_until_the_first_overload_it_doubles_a_round_trip():
    client = Client(cap=50)
    assert [client.limit.limit, *(client.round_trip() for _ in range(4))] == [FIRST_LIMIT, 16, 32, 50, 50]


def test_all_overloads_of_one_round_trip_halve_it_once():
    client = Client(cap=8)
    assert client.round_trip(overloads=8) == 4
    assert client.round_trip(overloads=4) == 2


def test_after_an_overload_it_grows_by_about_one_a_round_trip():
    client = Client(cap=64)
    client.round_trip(overloads=8)
    course = [client.round_trip() for _ in range(12)]
    assert all(0 <= after - before <= 1 for before, after in pairwise(course))
    assert 10 <= course[-1] <= 16


def test_a_limit_that_is_not_used_is_not_raised():
    limit = AdaptiveLimit(cap=64)
    for _ in range(100):
        limit.succeeded(limit.started())
    assert limit.limit == FIRST_LIMIT


def test_nothing_is_sent_while_the_provider_wants_quiet():
    client = Client(cap=8)
    client.round_trip(overloads=8, retry_after=30.0)
    assert client.limit.wait(10.0) == 20.0
    assert client.limit.wait(30.0) == 0.0


def test_a_fault_that_is_no_overload_leaves_it_as_it_is():
    limit = AdaptiveLimit(cap=8)
    limit.failed(limit.started())
    assert (limit.limit, limit.in_flight) == (8, 0)


@given(st.integers(1, 50), st.lists(st.sampled_from(["send", "ok", "fault", "overload"]), max_size=300))
def test_it_is_always_between_one_and_its_cap_and_counts_what_is_under_way(cap: int, events: list[str]):
    limit = AdaptiveLimit(cap)
    under_way: list[Ticket] = []
    for event in events:
        before = limit.limit
        if event == "send" and limit.wait(0.0) == 0:
            under_way.append(limit.started())
        elif event != "send" and under_way:
            ticket = under_way.pop(0)
            if event == "ok":
                limit.succeeded(ticket)
                assert before <= limit.limit <= before + 1
            elif event == "fault":
                limit.failed(ticket)
                assert limit.limit == before
            else:
                limit.overloaded(ticket, 0.0, 0.0)
                assert limit.limit in (before, max(1, before // 2))
        assert 1 <= limit.limit <= cap
        assert limit.in_flight == len(under_way)
        assert under_way or limit.wait(0.0) == 0
