"""Pairing of settings for comparisons."""

from safechain_ray.metrics.comparison import Pairing, pair_runs, pair_strategies
from safechain_ray.types import Sampling, Setting, StrategySpec


def setting(dataset: str = "d", strategy: object = "default", samples: int = 1, **sampling: float) -> Setting:
    return Setting(
        dataset=dataset,
        strategy=StrategySpec.model_validate(strategy),
        sampling=Sampling.model_validate(sampling),
        samples=samples,
    )


GREEDY = setting()
FIVE = setting(samples=5, temperature=0.6)
HOT = setting(samples=5, temperature=1.0)


def test_equal_settings_are_pairs_in_the_order_of_the_first_run() -> None:
    zero = setting(strategy="zerothink")
    assert pair_runs([FIVE, GREEDY, zero], [zero, GREEDY]) == Pairing(((GREEDY, GREEDY), (zero, zero)), (FIVE,))


def test_settings_that_differ_only_in_the_seed_are_pairs() -> None:
    other = setting(samples=5, temperature=0.6, seed=1)
    assert pair_runs([FIVE, HOT], [other, GREEDY]).pairs == ((FIVE, other),)


def test_the_same_data_set_and_strategy_are_a_pair_where_that_leaves_no_choice() -> None:
    assert pair_runs([FIVE], [GREEDY]).pairs == ((FIVE, GREEDY),)
    assert pair_runs([FIVE, HOT], [GREEDY]) == Pairing((), (FIVE, HOT), (GREEDY,))
    assert pair_runs([FIVE, HOT], [FIVE, GREEDY]) == Pairing(((FIVE, FIVE),), (HOT,), (GREEDY,))


def test_options_of_a_strategy_count_before_its_name_alone() -> None:
    ours, paper = setting(strategy="morethink"), setting(strategy={"name": "morethink", "compat": "paper"})
    warm = setting(strategy={"name": "morethink", "compat": "paper"}, temperature=0.6)
    assert pair_runs([ours, paper], [warm]) == Pairing(((paper, warm),), (ours,))
    assert pair_runs([ours], [warm]).pairs == ((ours, warm),)


def test_other_data_sets_and_strategies_are_never_pairs() -> None:
    assert pair_runs([GREEDY], [setting("e"), setting(strategy="zerothink")]).pairs == ()


def test_strategies_are_held_against_the_baseline_on_the_same_data_with_the_same_sampling() -> None:
    zero, less = setting(strategy="zerothink"), setting("e", strategy="lessthink")
    five = setting(strategy="zerothink", samples=5, temperature=0.6)
    hot = setting(strategy="zerothink", samples=5, temperature=1.0)
    found = pair_strategies([zero, GREEDY, FIVE, five, hot, less], "default")
    assert found == Pairing(((GREEDY, zero), (FIVE, five)), alone_second=(hot, less))


def test_a_baseline_that_stands_there_twice_is_not_chosen_from() -> None:
    paper = setting(strategy={"name": "morethink", "compat": "paper"})
    other = setting(strategy={"name": "morethink", "max_rounds": 3})
    assert pair_strategies([other, paper, GREEDY], "morethink").alone_second == (GREEDY,)


def test_settings_of_one_strategy_differ_by_their_labels() -> None:
    on, off = (
        setting(strategy={"name": "default", "template_kwargs": {"enable_thinking": value}}) for value in (True, False)
    )
    assert pair_strategies([on, off], "default enable_thinking=true").pairs == ((on, off),)
    assert pair_strategies([GREEDY, on, off], "default").pairs == ((GREEDY, on), (GREEDY, off))
    assert pair_strategies([on, off], "default") == Pairing((), ())
    body = setting(strategy={"name": "default", "extra_body": {"a": 1}, "template_kwargs": {"a": 1}})
    assert body.strategy.label == "default a=1 extra_body.a=1"
