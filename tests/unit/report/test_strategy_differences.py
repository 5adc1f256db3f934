"""The section of a run's page that compares its strategies, with the figures of `compare --baseline`."""

import re
from pathlib import Path

from safechain_ray.commands.compare import compare_own_strategies, compare_strategies
from safechain_ray.report.html.write import write_report
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.run_manifest import measure_and_write
from safechain_ray.storage import open_folder
from safechain_ray.types import Setting, StrategySpec
from tests.made_runs.by_verdicts import write_run

DEFAULT, ZERO, LESS = (
    Setting(dataset="strongreject", strategy=StrategySpec(name=name)) for name in ("default", "zerothink", "lessthink")
)
TEXTS = {f"p{number}": f"Question {number}?" for number in range(40)}


def verdicts(unsafe: int) -> dict[str, list[bool]]:
    """One sample of each prompt; the first `unsafe` ones are unsafe."""
    return {prompt: [number < unsafe] for number, prompt in enumerate(TEXTS)}


def page_of(run: Path) -> str:
    """The report of the run, once it is measured."""
    folder = RunFolder(open_folder(str(run)))
    measure_and_write(folder, RunRecord.of_finished(folder).run_manifest)
    write_report(folder.folder)
    return (run / "report.html").read_text()


def test_each_strategy_is_compared_with_the_default_one(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [(ZERO, verdicts(2)), (DEFAULT, verdicts(12)), (LESS, verdicts(9))], TEXTS, "tiny")

    compared = compare_own_strategies(str(tmp_path / "run"))

    assert compared == compare_strategies(str(tmp_path / "run"), "default")
    assert compared is not None
    page = page_of(tmp_path / "run")
    section = page[page.index('<section id="strategies"') : page.index('<section id="run"')]
    shown = re.findall(r"<strong>([+-][\d.]+)</strong>", section)
    wanted = [each.value for pair in compared.pairs for judge in pair.judges for each in judge.differences]
    assert shown == [f"{100 * value:+.1f}" for value in wanted if value is not None]
    assert "+25.0" in shown
    assert 'id="plot-strategy-differences"' in section


def test_without_the_default_strategy_the_first_one_is_the_baseline(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [(ZERO, verdicts(2)), (LESS, verdicts(9))], TEXTS, "tiny")

    compared = compare_own_strategies(str(tmp_path / "run"))

    assert compared is not None
    assert compared.baseline == "zerothink"


def test_a_run_with_one_strategy_has_no_such_section(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [(DEFAULT, verdicts(2))], TEXTS, "tiny")

    assert compare_own_strategies(str(tmp_path / "run")) is None
    assert 'id="strategies"' not in page_of(tmp_path / "run")
