"""Strategies by name: what is refused when the config is read."""

import pytest

from safechain_ray.catalog import families
from safechain_ray.decoding.base import STRATEGIES, check_strategy, strategy
from safechain_ray.decoding.morethink import MoreThink, PaperMoreThink
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.types import StrategySpec


def spec(name: str, **options: object) -> StrategySpec:
    return StrategySpec.model_validate({"name": name, **options})


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_every_name_of_the_table_makes_a_strategy_that_r1_can_follow(name):
    entry, family = STRATEGIES[name], families()["r1"]
    if entry.switch is not None:
        family = family.model_copy(update={"no_think": {"enable_thinking": False}, "efforts": ("low",)})
    check_strategy(spec(name, **entry.example), family)
    assert hasattr(strategy(spec(name, **entry.example)), "decode")


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'zerothink'"):
        strategy(spec("zero-think"))


def test_an_unknown_option_is_named_with_the_known_ones():
    with pytest.raises(
        InputError,
        match=r"'morethink': no option 'rounds'\. Fix: correct its options \(known: max_rounds, think_budget, compat\)",
    ):
        strategy(spec("morethink", rounds=3))
    with pytest.raises(
        InputError, match=r"'zerothink': no option 'rounds'\. Fix: correct its options \(known: compat\)"
    ):
        strategy(spec("zerothink", rounds=3))


@pytest.mark.parametrize(
    "options",
    [{"max_rounds": -1}, {"think_budget": 0}, {"compat": "published"}, {"max_rounds": True}, {"max_rounds": 1.5}],
)
def test_a_bad_value_is_shown_with_its_option(options):
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=rf"option '{name}': .*not {value!r}"):
        strategy(spec("morethink", **options))


def test_compat_chooses_the_published_calls():
    assert isinstance(strategy(spec("morethink")), MoreThink)
    assert isinstance(strategy(spec("morethink", compat="paper")), PaperMoreThink)


@pytest.mark.parametrize("family", ["qwq", "skywork-o1"])
@pytest.mark.parametrize("name", ["zerothink", "lessthink", "morethink"])
def test_models_without_thinking_tags_are_refused_and_those_that_can_are_named(family, name):
    with pytest.raises(InputError, match=rf"{name}.*{family}.*R1-7B") as refusal:
        check_strategy(spec(name), families()[family])
    assert "QwQ" not in str(refusal.value).removesuffix(".").split(", "), "QwQ-32B has tags; QwQ has none"


@pytest.mark.parametrize("family", ["qwq", "skywork-o1"])
def test_models_without_thinking_tags_can_decode_as_they_like(family):
    check_strategy(spec("default"), families()[family])


def test_checking_also_checks_the_options():
    with pytest.raises(InputError, match="no option"):
        check_strategy(spec("default", depth=2), families()["qwq"])
