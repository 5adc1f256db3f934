"""How the time until a deadline is shared among the models of a sweep."""

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.commands.sweep.active_runs import Demand, time_slice

shares = st.dictionaries(
    st.text(min_size=1, max_size=3), st.builds(Demand, st.floats(0, 100), st.sampled_from([0, 1, 2, 4, 8])), max_size=12
)


def test_on_one_gpu_each_model_has_the_part_of_the_time_that_its_work_is():
    assert time_slice(100, {"7B": Demand(1, 1), "8B": Demand(3, 1)}, all_gpus=1) == {"7B": 25, "8B": 75}


def test_on_cpus_it_is_the_same():
    assert time_slice(100, {"a": Demand(1, 0), "b": Demand(1, 0)}, all_gpus=0) == {"a": 50, "b": 50}


def test_a_model_on_half_of_the_gpus_has_twice_as_long():
    turns = time_slice(100, {"70B": Demand(2, 4), "32B": Demand(1, 2), "QwQ": Demand(1, 2)}, all_gpus=4)
    assert turns == {"70B": 50, "32B": 50, "QwQ": 50}


def test_a_providers_model_has_all_the_time_there_is():
    assert time_slice(100, {"Kimi": Demand(0, 0), "7B": Demand(1, 1)}, all_gpus=1) == {"Kimi": 100, "7B": 100}


@given(st.floats(0, 1e6), shares, st.integers(0, 64))
def test_no_turn_is_longer_than_the_time_there_is(left: float, shares: dict[str, Demand], gpus: int):
    turns = time_slice(left, shares, gpus)
    assert turns.keys() == shares.keys()
    assert all(0 <= seconds <= left for seconds in turns.values())
