"""Runs compared from their folders: which prompts and verdicts count, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safechain_ray.commands.compare import compare_runs, compare_strategies
from safechain_ray.errors import InputError
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.published import StandIns
from safechain_ray.types import Sampling, Setting, StrategySpec
from tests.made_runs.by_verdicts import GUARD, Unsafe, add_verdicts, write_run

GREEDY = Setting(dataset="strongreject")
FIVE = Setting(dataset="strongreject", sampling=Sampling(temperature=0.6, top_p=0.95), samples=5)
ZERO = Setting(dataset="strongreject", strategy=StrategySpec(name="zerothink"))
TEXTS = {f"p{i}": f"Question {i}?" for i in range(6)}
UNSAFE: Unsafe = {prompt_id: [True] for prompt_id in TEXTS}
SAFE: Unsafe = {prompt_id: [False] for prompt_id in TEXTS}


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return write_run(tmp_path / "one", [(GREEDY, UNSAFE)], TEXTS, "R1-7B")


def compared(*runs: Path) -> Comparison:
    return compare_runs([str(run) for run in runs])


def refusal(*runs: Path) -> str:
    with pytest.raises(InputError) as refused:
        compared(*runs)
    return str(refused.value)


def frame(run: Path) -> pd.Series:
    """Safe@1 of each prompt, as a reader of the Parquet files would take it."""
    rows = pd.read_parquet(run / "samples").explode("verdicts")
    rows["safe"] = [None if each["unsafe"] is None else float(not each["unsafe"]) for each in rows["verdicts"]]
    return rows.groupby("prompt_id")["safe"].mean()


def test_differences_are_those_of_pandas_over_the_prompts_with_verdicts_on_both_sides(tmp_path: Path) -> None:
    here: Unsafe = {each: [i < 4, True, None, False, i > 2] for i, each in enumerate(TEXTS)}
    there: Unsafe = {each: [i < 1, False, None, i > 4, False] for i, each in enumerate(TEXTS)}
    one = write_run(tmp_path / "one", [(FIVE, {**here, "p2": [None] * 5})], TEXTS, "R1-7B")
    two = write_run(tmp_path / "two", [(FIVE, there)], TEXTS, "R1-8B")
    found = compared(one, two)
    assert (found.baseline, [pair.run for pair in found.pairs]) == ("R1-7B", ["R1-8B"])
    ((judge,),) = (pair.judges for pair in found.pairs)
    both = pd.DataFrame({"first": frame(one), "second": frame(two)}).dropna()
    safe_at_1, *others = judge.differences
    assert (safe_at_1.n, safe_at_1.left_out) == (5, 1) == (len(both), 6 - len(both))
    assert [safe_at_1.first, safe_at_1.second] == pytest.approx(list(both.mean()))
    assert safe_at_1.value == pytest.approx((both["second"] - both["first"]).mean())
    assert [(each.metric, each.n) for each in others] == [("cons_safe_at_k", 0), ("safe_at_k", 0)]


def test_every_further_run_is_held_against_the_first(one: Path, tmp_path: Path) -> None:
    more = [write_run(tmp_path / name, [(GREEDY, SAFE)], TEXTS, name) for name in ("R1-8B", "R1-14B")]
    found = compared(one, *more)
    assert [pair.run for pair in found.pairs] == ["R1-8B", "R1-14B"]
    p_values = [pair.judges[0].differences[0] for pair in found.pairs]
    assert [(each.p_value, each.p_adjusted) for each in p_values] == [(1 / 32, 1 / 16)] * 2


@pytest.mark.parametrize(("folders", "names"), [(("x", "y"), ("x", "y")), (("a/run", "b/run"), None)])
def test_runs_of_one_model_are_told_apart_by_their_folders(
    tmp_path: Path, folders: tuple[str, str], names: tuple[str, str] | None
) -> None:
    runs = [write_run(tmp_path / folder, [(GREEDY, SAFE)], TEXTS) for folder in folders]
    found = compared(*runs)
    assert (found.baseline, found.pairs[0].run) == (names or tuple(map(str, runs)))


def test_verdicts_that_were_added_later_count(one: Path, tmp_path: Path) -> None:
    two = write_run(tmp_path / "two", [(GREEDY, SAFE)], TEXTS, judges=[{"name": "late"}])
    assert "no judge and part in common" in refusal(one, two)
    add_verdicts(one, "late", GREEDY, SAFE)
    ((judge,),) = (pair.judges for pair in compared(one, two).pairs)
    assert (judge.judge, judge.differences[0].value, judge.differences[0].n) == ("late", 0, 6)


def test_a_judge_of_the_same_name_that_judges_otherwise_is_told(one: Path, tmp_path: Path) -> None:
    two = write_run(tmp_path / "two", [(GREEDY, SAFE)], TEXTS, judges=[{**GUARD, "kind": "harmbench"}])
    assert compared(one, two).other_judges == (
        'guard is not the same judge in R1-7B and in demo-reasoner: kind: "llama_guard" -> "harmbench"',
    )


def test_of_other_data_only_prompts_with_the_same_id_and_text_are_compared(one: Path, tmp_path: Path) -> None:
    texts = {"p0": TEXTS["p0"], "p1": "Another question?", "p9": TEXTS["p2"]}
    two = write_run(tmp_path / "two", [(GREEDY, {each: [False] for each in texts})], texts)
    (pair,) = compared(one, two).pairs
    assert (pair.same_data, pair.prompts) == (False, (1, 6, 3))
    assert (pair.judges[0].differences[0].n, pair.judges[0].differences[0].left_out) == (1, 0)


def without_prompts(run: Path) -> Path:
    """The run as a copy that was pushed without the texts of its prompts."""
    for file in (run / "samples").glob("*.parquet"):
        table = pq.read_table(file)
        empty = pa.array([""] * table.num_rows, pa.string())
        pq.write_table(table.set_column(table.schema.names.index("prompt"), table.schema.field("prompt"), empty), file)
    return run


def test_prompts_that_were_withheld_when_a_run_was_pushed_are_not_equal(one: Path, tmp_path: Path) -> None:
    texts = {each: f"Another {text}" for each, text in TEXTS.items()}
    two = without_prompts(write_run(tmp_path / "two", [(GREEDY, SAFE)], texts))
    message = refusal(without_prompts(one), two)
    assert message == (
        f"{one} and {two} share no prompt (by id and text) of strongreject. {one} has no texts of strongreject; {two} "
        "has no texts of strongreject: they were left out when the run was pushed, so prompts of other data can't be "
        "matched. Fix: compare the original runs, or runs with exactly the same data."
    )


def test_copies_without_prompts_of_the_same_data_are_compared_by_id(one: Path, tmp_path: Path) -> None:
    two = without_prompts(write_run(tmp_path / "two", [(GREEDY, SAFE)], TEXTS, "R1-8B"))
    assert compared(without_prompts(one), two).pairs[0].prompts == (6, 6, 6)


def test_a_part_of_the_data_is_compared_over_that_part(one: Path, tmp_path: Path) -> None:
    few = {each: TEXTS[each] for each in ("p1", "p4")}
    two = write_run(tmp_path / "two", [(GREEDY, {each: [False] for each in few})], few)
    assert compared(one, two).pairs[0].prompts == (2, 6, 2)


def test_a_setting_without_a_partner_and_one_without_a_shared_prompt_are_told(one: Path, tmp_path: Path) -> None:
    other = Setting(dataset="xstest")
    few = {"p1": TEXTS["p1"]}
    two = write_run(tmp_path / "two", [(GREEDY, {"p1": [False]}), (ZERO, {"p1": [False]})], few)
    three = write_run(tmp_path / "three", [(GREEDY, SAFE), (other, SAFE)], TEXTS, "R1-8B")
    assert [(each.run, each.setting, each.reason) for each in compared(one, two).left_out] == [
        ("demo-reasoner", ZERO, "no counterpart, or more than one")
    ]
    four = write_run(
        tmp_path / "four", [(other, {"q": [False]}), (GREEDY, {"p1": [True]})], {**few, "q": "Q?"}, "R1-14B"
    )
    assert [(each.setting, each.reason) for each in compared(three, four).left_out] == [
        (other, "no prompt in common with R1-8B")
    ]


def test_strategies_of_one_run_are_held_against_a_baseline(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [(GREEDY, UNSAFE), (ZERO, SAFE), (FIVE, {"p0": [True] * 5})], TEXTS)
    found = compare_strategies(str(run), "default")
    (pair,) = found.pairs
    assert (found.between, found.baseline, pair.first, pair.second) == ("strategies", "default", GREEDY, ZERO)
    assert pair.judges[0].differences[0].value == 1
    assert found.left_out == ()


def test_a_baseline_with_nothing_beside_it_is_refused_with_what_there_is(one: Path, tmp_path: Path) -> None:
    for strategy in ("default", "zerothink"):
        with pytest.raises(InputError, match=r"one has one strategy, default, so .* Fix: evaluate several strategies"):
            compare_strategies(str(one), strategy)
    zero = ZERO.model_copy(update={"samples": 2, "sampling": FIVE.sampling})
    run = write_run(tmp_path / "run", [(GREEDY, UNSAFE), (zero, {"p0": [False] * 2})], TEXTS)
    with pytest.raises(InputError, match=r"'zero' is not in .*/run\. Its strategies: default, zerothink\. Fix"):
        compare_strategies(str(run), "zero")
    with pytest.raises(InputError, match=r"strategy 'zerothink' .* It has: strongreject-default-t0-k1"):
        compare_strategies(str(run), "zerothink")


def test_published_differences_stand_beside_where_both_sides_were_published(one: Path, tmp_path: Path) -> None:
    two = write_run(tmp_path / "two", [(GREEDY, SAFE)], TEXTS, "R1-8B")
    (pair,) = compare_runs([str(one), str(two)], StandIns()).pairs
    assert pair.judges[0].differences[0].published == pytest.approx(0.466 - 0.364)
    first, second = pair.judges[0].counterparts or ()
    assert (first.model, second.model) == ("R1-7B", "R1-8B")
    assert first.differs == (
        "default with compat=none, not paper (BOS once, not twice)",
        "6 of 313 prompts",
        "judge guard, not llama-guard-3-8b",
    )


def rewritten(run: Path, **changes: Any) -> Path:
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return run


def test_what_can_not_be_compared_is_refused_with_the_reason(one: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    assert refusal(one, nothing) == f"There is no folder {nothing}. Fix: check the path."
    unfinished = write_run(tmp_path / "unfinished", [(GREEDY, SAFE)], TEXTS, finished=False)
    assert "has not ended. Fix: rerun its own command to resume." in refusal(one, unfinished)
    of_a_study = {"identity": {"judges": [], "labelled": "h"}, "data": {"name": "d"}}
    study = rewritten(write_run(tmp_path / "study", [(GREEDY, SAFE)], TEXTS), **of_a_study)
    assert "holds a judge study, preferences or benchmarks, but no run of a model" in refusal(one, study)
    assert "is named twice" in refusal(one, one / ".." / "one")
    others = write_run(tmp_path / "others", [(Setting(dataset="xstest"), SAFE)], TEXTS)
    message = refusal(one, others)
    assert message.startswith("The runs have no setting in common")
    assert f"{one}: strongreject-default-t0-k1" in message
    assert f"{others}: xstest-default-t0-k1" in message
    strangers = write_run(tmp_path / "strangers", [(GREEDY, {"p0": [True]})], {"p0": "Who?"})
    assert "share no prompt (by id and text) of strongreject" in refusal(one, strangers)


def test_rows_that_repeat_are_refused_and_not_counted_twice(one: Path, tmp_path: Path) -> None:
    two = write_run(tmp_path / "two", [(GREEDY, SAFE)], TEXTS)
    (file,) = (two / "samples").glob("*.parquet")
    (two / "samples" / "again.parquet").write_bytes(file.read_bytes())
    assert "rows or verdicts of strongreject-default-t0-k1" in refusal(one, two)
