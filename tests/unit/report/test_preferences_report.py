"""Preferences in the terminal: shares beside the published ones, what is missing, and foreign names that do nothing."""

import io
from typing import Any

from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.intervals import share_estimate
from safechain_ray.metrics.preferences import LeftOut, Preferences, PreferenceShares, SettingPreferences
from safechain_ray.report.comparison import preferences_document
from safechain_ray.report.renderers import print_document
from safechain_ray.types import Setting

NOTHING_LEFT = LeftOut(samples_a=0, samples_b=0, other_prompt=0, settings_a=(), settings_b=())


def share(count: int) -> Any:
    return share_estimate({(1, 1): count, (0, 1): 40 - count}, clustered=False, seed=0)


SHARES: dict[str, Any] = {"win": share(20), "tie": share(10), "lose": share(10), "win_rate": share(25)}


def preferences(left_out: LeftOut = NOTHING_LEFT, **fields: Any) -> Preferences:
    setting = SettingPreferences(
        pairs=43,
        missing=3,
        **SHARES,
        setting_a=Setting(dataset="strongreject"),
        setting_b=Setting(dataset="strongreject"),
        unanswered=1,
        judge_errors=2,
        cut=4,
        orders_differ=share(4),
        categories={"Hate": PreferenceShares(pairs=12, missing=0, **SHARES)},
    )
    usual: dict[str, Any] = {
        "model_a": "R1-70B",
        "model_b": "Llama-3.3-70B-Instruct",
        "run_a": "runs/a",
        "run_b": "runs/b",
        "judge": "prefer-llama-3.3-70b",
        "part_a": "answer",
        "part_b": "response",
        "settings": (setting,),
        "left_out": left_out,
        "caveats": (),
        "published_by": "SafeChain",
        "published": published_figures().pairwise.between("R1-70B", "Llama-3.3-70B-Instruct"),
    }
    return Preferences(**{**usual, **fields})


def shown(found: Preferences, width: int = 80, by_category: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_document(preferences_document(found, by_category), console)
    return console.file.getvalue()


def test_shares_are_above_the_published_ones_within_80_columns():
    text = shown(preferences())
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text
    (published,) = (line for line in text.splitlines() if "published *" in line)
    assert published.split()[2:] == ["32.3", "22.0", "45.7"]
    words = text.split()
    for figure in ("50.0", "25.0", "62.5", "10.0"):
        assert figure in words
    assert "answer" in text


def test_without_a_published_pair_the_table_has_none():
    assert "ublished" not in shown(preferences(published=None))


def test_what_is_missing_cut_and_left_out_is_noted():
    left = LeftOut(samples_a=5, samples_b=0, other_prompt=2, settings_a=("xstest-default-t0-k1-1",), settings_b=())
    text = " ".join(shown(preferences(left), width=400).split())
    assert "1 pairs lack a response (errors, blocked); 2 pairs the judge could not decide; 4 pairs were cut" in text
    left_out = "2 samples, because their prompt has another text in the other run; 5 samples that only A has."
    assert f"Left out: {left_out}" in text
    assert "xstest-default-t0-k1-1 of A" in text


def test_categories_have_a_table_of_their_own_where_asked_for():
    assert "Hate *" in shown(preferences(), by_category=True)
    assert "Hate" not in shown(preferences())


def test_foreign_names_do_nothing():
    text = shown(preferences(model_a="\x1b[31m[bold]R1[/bold]", caveats=("[red]A caveat.",)))
    assert "\x1b" not in text
    assert "[bold]R1[/bold]" in text
    assert "[red]A caveat." in text
