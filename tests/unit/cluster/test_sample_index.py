"""The sample index: a stream of sample numbers is a stream of samples."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.cluster.sample_index import SampleIndex
from safechain_ray.types import Prompt, Sampling, Setting

prompts = st.integers(1, 5).map(lambda count: tuple(Prompt(f"p{i}", f"text {i}", "c") for i in range(count)))
settings = st.lists(
    st.builds(
        Setting,
        dataset=st.sampled_from(["a", "b"]),
        strategy=st.sampled_from(["default", "zerothink"]),
        sampling=st.just(Sampling(temperature=1)),
        samples=st.integers(1, 4),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda setting: setting.setting_id,
)
worklists = st.builds(
    lambda settings, a, b: SampleIndex(tuple(settings), {"a": a, "b": b}), settings, a=prompts, b=prompts
)


@given(worklists)
def test_every_sample_of_the_run_has_one_number(sample_specs: SampleIndex):
    wanted = [
        (setting.setting_id, prompt.prompt_id, index)
        for setting in sample_specs.settings
        for prompt in sample_specs.prompts[setting.dataset]
        for index in range(setting.samples)
    ]
    numbered = [sample_specs[number] for number in range(len(sample_specs))]
    assert [(item.setting.setting_id, item.prompt.prompt_id, item.sample_index) for item in numbered] == wanted
    assert list(sample_specs) == numbered
    assert len({item.sample_id for item in numbered}) == len(sample_specs)


@given(worklists)
def test_the_samples_of_a_prompt_are_neighbours_so_that_they_share_its_prefix(sample_specs: SampleIndex):
    for (setting_id, _), samples in groupby(
        sample_specs, key=lambda item: (item.setting.setting_id, item.prompt.prompt_id)
    ):
        indices = [item.sample_index for item in samples]
        setting = next(each for each in sample_specs.settings if each.setting_id == setting_id)
        assert indices == list(range(setting.samples))


@given(worklists, st.data())
def test_the_numbers_left_are_those_of_samples_that_are_not_finished(sample_specs: SampleIndex, data: st.DataObject):
    finished = data.draw(st.sets(st.integers(0, len(sample_specs) - 1)))
    ids = {sample_specs[number].sample_id for number in finished} | {"a sample of another run"}
    assert sample_specs.numbers_without(ids) == [
        number for number in range(len(sample_specs)) if number not in finished
    ]
    assert sample_specs.numbers_without(set()) == list(range(len(sample_specs)))
