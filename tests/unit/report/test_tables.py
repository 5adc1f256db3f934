"""The tables of a run on a terminal and without one."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from safechain_ray import testing
from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.report.tables import notes, render_metrics
from safechain_ray.types import Outcome, Sample, Sampling, Setting

FIVE = Setting(dataset="strongreject", sampling=Sampling(temperature=0.6, top_p=0.95), samples=5)
GREEDY = Setting(dataset="wildjailbreak-250", strategy={"name": "morethink", "compat": "paper"})
JUDGE = "llama-guard-3-8b"


def sample(setting: Setting, prompt: int, index: int, unsafe: bool | None, category: str, outcome: Outcome) -> Sample:
    verdicts = () if unsafe is None else (testing.verdict(unsafe, JUDGE),)
    return testing.sample(
        setting,
        prompt_id=str(prompt),
        category=category,
        sample_index=index,
        outcome=outcome,
        seconds=1.0,
        verdicts=verdicts,
    )


def metrics_of(
    setting: Setting, prompts: int, blocked: int = 0, category: str = "Hate", expected: int | None = None
) -> RunMetrics:
    """The last sample of a prompt is unsafe, the others safe, but for the first of `blocked` prompts: it is blocked."""
    rows = []
    for prompt in range(prompts):
        for index in range(setting.samples):
            is_blocked = index == 0 and prompt < blocked
            unsafe = None if is_blocked else index == setting.samples - 1
            rows.append(sample(setting, prompt, index, unsafe, category, "blocked" if is_blocked else "ok"))
    expected_prompts = {} if expected is None else {setting.dataset: expected}
    return summarise(count_samples(rows), [setting], [(JUDGE, "response")], expected_prompts)


def printed(metrics: RunMetrics, width: int = 100, by_category: bool = False, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
    render_metrics(metrics, console, by_category)
    return console.file.getvalue()


def unwrapped(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit_the_width_with_every_figure_whole(width: int) -> None:
    both = RunMetrics(
        settings=(*metrics_of(FIVE, 313, blocked=2).settings, *metrics_of(GREEDY, 250, expected=260).settings)
    )
    text = printed(both, width, by_category=True)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for figure in ("Safe@1", "ConsSafe@K", "Safe@K", "Missing", "1,565", "80.0", "79.9-80.0", "100.0", "0.0-1.5"):
        assert figure in text


def test_outcomes_come_before_any_safety_metric() -> None:
    text = printed(metrics_of(FIVE, 40, blocked=3))
    for outcome in ("truncated", "blocked", "error"):
        assert text.index(outcome) < text.index("Safe@1")
    assert "1.5%" in text


def test_options_and_sampling_distinguish_similar_settings() -> None:
    five, greedy = metrics_of(FIVE, 40), metrics_of(GREEDY, 40)
    text = unwrapped(printed(five.model_copy(update={"settings": (*five.settings, *greedy.settings)})))
    assert "strongreject default temp=0.6 K=5 top_p=0.95" in text
    assert "wildjailbreak-250 morethink compat=paper greedy K=1" in text


def test_what_all_settings_share_is_once_in_the_title() -> None:
    text = printed(metrics_of(FIVE, 40))
    assert text.count("temp=0.6 K=5 top_p=0.95") == 1
    assert "strongreject default  " in text


def test_caveats_of_the_catalog_come_before_any_figure() -> None:
    metrics = metrics_of(FIVE, 40).model_copy(update={"model": "tiny", "caveats": ("Tiny models prove nothing.",)})
    text = printed(metrics)
    assert text.index("Tiny models prove nothing.") < text.index("Outcomes of samples tiny")


def test_output_without_a_terminal_has_no_escape_sequences() -> None:
    metrics = metrics_of(FIVE, 40, blocked=3)
    assert "\x1b" not in printed(metrics)
    assert "\x1b[33m" in printed(metrics, terminal=True)


def test_bounds_are_shown_only_where_verdicts_are_missing() -> None:
    assert "(" not in printed(metrics_of(FIVE, 40)).split("Safe@1")[1].split("In percent")[0]
    assert "(79.0-80.0)" in printed(metrics_of(FIVE, 40, blocked=2))


def test_missing_verdicts_and_the_prompts_behind_each_figure_are_noted() -> None:
    (note,) = notes(metrics_of(FIVE, 40, blocked=15))
    assert note == (
        "strongreject default temp=0.6 K=5 top_p=0.95; llama-guard-3-8b, response: 15 of 200 verdicts are missing. "
        "Prompts behind the figures: Safe@1 on 40 of 40, ConsSafe@K and Safe@K on only 25 of 40."
    )
    assert note in unwrapped(printed(metrics_of(FIVE, 40, blocked=15)))


def test_verdicts_with_a_note_of_their_judge_are_noted() -> None:
    judge = testing.verdict(False, JUDGE, note="judged by the last 10 of 20 tokens")
    rows = [replace(sample(GREEDY, i, 0, False, "c", "ok"), verdicts=(judge,)) for i in range(30)]
    rows += [sample(GREEDY, i, 0, False, "c", "ok") for i in range(30, 40)]
    (note,) = notes(summarise(count_samples(rows), [GREEDY], [(JUDGE, "response")]))
    assert "30 of 40 verdicts have a note of the judge" in note


def test_few_prompts_are_noted() -> None:
    few = "wildjailbreak-250: the safety figures are based on only 4 harmful prompts."
    assert notes(metrics_of(GREEDY, 4)) == [few]
    assert notes(metrics_of(GREEDY, 30)) == []
    found, missing = notes(metrics_of(GREEDY, 4, blocked=1))
    assert found == few
    assert missing.endswith("Prompts behind the figures: Safe@1, ConsSafe@K and Safe@K on only 3 of 4.")


@pytest.mark.parametrize(("thought_tokens", "count"), [(0, 0), (120, 1)])
def test_thoughts_of_a_model_that_was_switched_off_are_noted(thought_tokens: int, count: int) -> None:
    setting = Setting(dataset="strongreject", strategy={"name": "no-think"})
    rows = [replace(sample(setting, i, 0, False, "c", "ok"), thought_tokens=thought_tokens) for i in range(30)]
    found = notes(summarise(count_samples(rows), [setting], [(JUDGE, "response")]))
    assert len(found) == count
    assert all("no-think greedy K=1: the responses have 120 tokens of thought on average" in note for note in found)


def test_absent_rows_are_noted() -> None:
    metrics = metrics_of(GREEDY, 30, expected=250)
    assert notes(metrics)[0].endswith("compat=paper greedy K=1: only 30 of 250 rows are there.")
    assert "of 250" in printed(metrics)


def test_a_metric_that_nothing_defines_is_none_and_not_zero() -> None:
    metrics = metrics_of(FIVE, 40, blocked=40)
    assert "none" in printed(metrics)
    assert "ConsSafe@K and Safe@K on none of 40" in notes(metrics)[0]


def test_a_value_outside_its_bounds_is_noted() -> None:
    rows = [sample(FIVE, prompt, index, False, "c", "ok") for prompt in range(30) for index in range(5)]
    rows += [
        sample(FIVE, prompt, index, True if index else None, "c", "ok")
        for prompt in range(30, 60)
        for index in range(5)
    ]
    (note,) = notes(summarise(count_samples(rows), [FIVE], [(JUDGE, "response")]))
    assert note.endswith(
        "ConsSafe@K and Safe@K outside the bounds: prompts with missing verdicts are unlike the others."
    )


def test_hostile_names_are_printed_as_inert_text() -> None:
    category = "\x1b[2J[bold red]Hate[/nothing] :smile: [link=file:///etc]x"
    dataset = "data\x1b]0;title\x07[/bold]"
    setting = Setting(dataset=dataset)
    text = printed(metrics_of(setting, 4, category=category), width=200, by_category=True)
    assert "[bold red]Hate[/nothing] :smile: [link=file:///etc]x" in text
    assert "data[/bold] default greedy K=1" in text
    assert "\x1b" not in text


def test_categories_are_an_option_and_mark_few_prompts() -> None:
    metrics = metrics_of(GREEDY, 7, category="Privacy")
    assert "Privacy" not in printed(metrics)
    assert "7*" in printed(metrics, by_category=True)
