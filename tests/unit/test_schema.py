"""The words as records: stable ids and seeds, what a setting refuses, and the samples as an Arrow table."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from safechain_ray import testing
from safechain_ray.metrics.counts import PromptCounts, count_table
from safechain_ray.types import (
    SAMPLES_SCHEMA,
    VERDICT_TYPE,
    Sample,
    Sampling,
    Setting,
    StrategySpec,
    Verdict,
    as_samples,
    filter_by_ids,
    samples_from_table,
    samples_table,
    with_verdicts,
)

GREEDY = Setting(dataset="quickstart")
FIVE = Setting(dataset="strongreject", strategy="zerothink", sampling=Sampling(temperature=0.6, top_p=0.95), samples=5)
COLUMNS = (
    "sample_id setting_id model dataset prompt_id category prompt strategy sample_index temperature top_p top_k "
    "max_tokens seed thought answer response prefill outcome finish_reason error prompt_tokens thought_tokens "
    "answer_tokens forced_rounds seconds engine verdicts"
)

int32 = st.integers(0, 2**31 - 1)
verdict = st.builds(Verdict, score=st.none() | st.floats(0, 1))
sample = st.builds(
    Sample,
    sample_index=int32,
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1),
    top_k=st.integers(-1, 2**31 - 1),
    max_tokens=int32,
    seed=st.none() | int32,
    prompt_tokens=int32,
    thought_tokens=st.none() | int32,
    answer_tokens=st.none() | int32,
    forced_rounds=int32,
    seconds=st.floats(0, 1e6),
    verdicts=st.lists(verdict, max_size=3).map(tuple),
)
setting = st.builds(
    Setting,
    dataset=st.sampled_from(["a", "b", "ab"]),
    strategy=st.sampled_from(["default", "zerothink", {"name": "morethink", "max_rounds": 3}]),
    sampling=st.builds(Sampling, temperature=st.floats(0.1, 2), seed=st.integers(0, 3), max_tokens=st.integers(1, 3)),
    samples=st.integers(1, 5),
)


def test_ids_and_seeds_never_change_as_folders_of_finished_runs_hold_them():
    assert GREEDY.setting_id == "quickstart-default-t0-k1-d29559"
    assert GREEDY.sample_id("p1", 0) == "8cf4c0a76a8fa138"
    assert FIVE.setting_id == "strongreject-zerothink-t0.6-k5-aa621a"
    assert FIVE.sample_id("p1", 4) == "3f590b80e52ee00e"
    assert FIVE.sample_seed("p1", 4) == 1590334465


def test_a_settings_id_does_not_depend_on_the_order_of_its_strategys_options():
    options = {"max_rounds": 3, "think_budget": 400}
    ids = {
        Setting(dataset="d", strategy=StrategySpec(name="morethink", options=dict(order))).setting_id
        for order in (options.items(), reversed(options.items()))
    }
    assert len(ids) == 1


@given(
    st.lists(setting, min_size=1, max_size=4, unique_by=lambda each: each.model_dump_json()),
    st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True),
)
def test_sample_ids_are_unique_over_settings_prompts_and_indices(settings: list[Setting], prompt_ids: list[str]):
    ids = [each.sample_id(prompt_id, index) for each, prompt_id in product(settings, prompt_ids) for index in range(6)]
    assert len(set(ids)) == len(ids)


@given(setting, st.text(max_size=4), st.integers(0, 5))
def test_a_sampled_seed_fits_an_engine_and_differs_between_the_samples_of_a_prompt(
    setting: Setting, prompt_id: str, index: int
):
    seed, next_seed = setting.sample_seed(prompt_id, index), setting.sample_seed(prompt_id, index + 1)
    assert seed is not None
    assert 0 <= seed < 2**31
    assert seed != next_seed


def test_the_runs_seed_changes_every_samples_seed():
    other = FIVE.model_copy(update={"sampling": FIVE.sampling.model_copy(update={"seed": 1})})
    assert other.sample_seed("p1", 0) != FIVE.sample_seed("p1", 0)


def test_greedy_decoding_has_no_seed():
    assert GREEDY.sample_seed("p1", 0) is None


def test_equal_greedy_samples_are_refused_with_what_to_do():
    with pytest.raises(ValidationError, match="set a temperature above 0, or samples: 1"):
        Setting(dataset="d", samples=5)


@pytest.mark.parametrize("samples", [0, -1])
def test_fewer_than_one_sample_a_prompt_is_refused(samples: int):
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Setting(dataset="d", samples=samples)


@pytest.mark.parametrize(
    "field",
    [
        {"top_p": 0},
        {"top_p": -0.1},
        {"top_p": 1.01},
        {"top_p": float("nan")},
        {"temperature": -0.1},
        {"temperature": float("inf")},
        {"temperature": float("nan")},
        {"top_k": -2},
        {"max_tokens": 0},
        {"max_tokens": 2**31},
        {"repetition_penalty": 0},
        {"repetition_penalty": float("inf")},
        {"seed": -1},
        {"best_of": 2},
    ],
)
def test_sampling_that_no_engine_can_follow_is_refused(field: dict[str, float]):
    with pytest.raises(ValidationError, match=next(iter(field))):
        Sampling(**field)


@pytest.mark.parametrize("field", [{"top_p": 1}, {"top_p": 0.01}, {"top_k": -1}, {"top_k": 50}, {"max_tokens": 1}])
def test_sampling_at_its_bounds_is_taken(field: dict[str, float]):
    assert Sampling(**field).model_dump().items() >= field.items()


@pytest.mark.parametrize(
    "short",
    [
        {"name": "morethink", "max_rounds": 3, "compat": "paper"},
        {"name": "morethink", "options": {"compat": "paper", "max_rounds": 3}},
        StrategySpec(name="morethink", options={"max_rounds": 3, "compat": "paper"}),
    ],
)
def test_options_stand_beside_a_strategys_name_or_under_options(short: object):
    spec = StrategySpec.model_validate(short)
    assert (spec.name, spec.options) == ("morethink", {"compat": "paper", "max_rounds": 3})


def test_a_name_alone_is_a_strategy_without_options():
    assert StrategySpec.model_validate("zerothink") == StrategySpec(name="zerothink", options={})


def test_options_beside_and_under_options_at_once_are_refused():
    with pytest.raises(ValidationError, match="compat"):
        StrategySpec.model_validate({"name": "morethink", "options": {}, "compat": "paper"})


def test_the_columns_of_the_samples_are_those_of_the_design():
    assert " ".join(SAMPLES_SCHEMA.names) == COLUMNS


@given(st.lists(sample, max_size=5))
def test_samples_survive_the_way_into_a_table_and_back(samples: list[Sample]):
    table = samples_table(samples)
    assert table.schema.equals(SAMPLES_SCHEMA)
    assert samples_from_table(table) == samples


@given(st.lists(st.tuples(sample, st.lists(verdict, max_size=2)), max_size=4))
def test_new_verdicts_stand_behind_those_that_a_row_holds(rows: list[tuple[Sample, list[Verdict]]]):
    samples, verdicts = [row[0] for row in rows], [row[1] for row in rows]
    table = with_verdicts(samples_table(samples), verdicts)
    assert table.schema.equals(SAMPLES_SCHEMA)
    assert samples_from_table(table) == [
        replace(sample, verdicts=(*sample.verdicts, *new)) for sample, new in zip(samples, verdicts, strict=True)
    ]


@given(st.lists(sample, max_size=5, unique_by=lambda each: each.sample_id), st.data())
def test_only_keeps_the_rows_with_the_given_ids_in_order(samples: list[Sample], data: st.DataObject):
    ids = [each.sample_id for each in samples]
    kept = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
    assert filter_by_ids(samples_table(samples), kept)["sample_id"].to_pylist() == [
        each for each in ids if each in kept
    ]


def test_a_file_from_before_verdicts_had_notes_reads_as_verdicts_without_one(tmp_path: Path):
    before = pa.struct([field for field in VERDICT_TYPE if field.name != "note"])
    verdicts = SAMPLES_SCHEMA.get_field_index("verdicts")
    kept = (
        testing.sample(sample_id="old", verdicts=(testing.verdict(True, "a", score=0.9, categories=("S1",)),)),
        testing.sample(sample_id="none"),
    )
    old = samples_table(kept).cast(SAMPLES_SCHEMA.set(verdicts, pa.field("verdicts", pa.list_(before), nullable=False)))
    pq.write_table(old, tmp_path / "old.parquet")
    read = pq.read_table(tmp_path / "old.parquet")

    assert samples_from_table(read) == list(kept)
    assert as_samples(read).schema.equals(SAMPLES_SCHEMA)
    new = testing.verdict(None, "b", error="cut", note="n")
    judged = with_verdicts(read, [[new], []])
    assert judged.schema.equals(SAMPLES_SCHEMA)
    assert samples_from_table(judged)[0].verdicts == (*kept[0].verdicts, new)
    assert count_table(read).prompt_counts("set", "a", "response") == [PromptCounts("p", "c", 0, 1, 1)]
