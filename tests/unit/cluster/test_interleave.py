"""The order of a run's samples: every beginning is a fair part of the whole."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.cluster.sample_index import SampleIndex, interleave
from safechain_ray.types import Prompt, Sampling, Setting, StrategySpec


def prompts(count: int) -> tuple[Prompt, ...]:
    return tuple(Prompt(f"p{number}", f"text {number}", f"c{number % 3}") for number in range(count))


def setting(dataset: str, strategy: str = "default", samples: int = 1) -> Setting:
    temperature = 0.0 if samples == 1 else 1.0
    return Setting(
        dataset=dataset,
        strategy=StrategySpec(name=strategy),
        sampling=Sampling(temperature=temperature),
        samples=samples,
    )


SETTINGS = (setting("big"), setting("big", "zerothink", 5), setting("small"), setting("small", "zerothink", 2))


@given(st.integers(1, 40), st.integers(1, 9), st.data())
def test_every_wanted_number_is_there_once(big: int, small: int, data: st.DataObject):
    sample_specs = SampleIndex(SETTINGS, {"big": prompts(big), "small": prompts(small)})
    wanted = sorted(data.draw(st.sets(st.integers(0, len(sample_specs) - 1))))
    assert sorted(interleave(sample_specs, wanted)) == wanted


@given(st.integers(20, 60), st.integers(5, 60), st.floats(0.1, 1))
def test_whatever_is_cut_off_all_settings_have_the_same_share_of_their_prompts(big: int, small: int, share: float):
    sample_specs = SampleIndex(SETTINGS, {"big": prompts(big), "small": prompts(small)})
    ordered = interleave(sample_specs, range(len(sample_specs)))
    begun: Counter[str] = Counter()
    for item in (sample_specs[number] for number in ordered[: round(share * len(ordered))]):
        begun[item.setting.setting_id] += 1
    for each in SETTINGS:
        whole = len(sample_specs.prompts[each.dataset]) * each.samples
        assert abs(begun[each.setting_id] / whole - share) <= 1 / len(sample_specs.prompts[each.dataset]) + 0.05


def test_settings_of_a_data_set_go_through_the_same_prompts_in_the_same_order_and_samples_stay_together():
    sample_specs = SampleIndex(SETTINGS, {"big": prompts(30), "small": prompts(7)})
    ordered = [sample_specs[number] for number in interleave(sample_specs, range(len(sample_specs)))]
    by_setting = {
        each.setting_id: [item.prompt.prompt_id for item in ordered if item.setting == each] for each in SETTINGS
    }
    greedy, sampled, _, _ = by_setting.values()
    assert sampled == [prompt for prompt in greedy for _ in range(5)]
    assert greedy != [f"p{number}" for number in range(30)]
    assert [item.sample_index for item in ordered if item.setting == SETTINGS[1]] == [0, 1, 2, 3, 4] * 30


def test_nothing_to_do_is_in_order():
    assert interleave(SampleIndex(SETTINGS, {"big": prompts(1), "small": prompts(1)}), []) == []
