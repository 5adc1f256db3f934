"""Judges added to a run: torn and foreign files below verdicts/ are set aside, failed verdicts are asked for again."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from safechain_ray.cli import app
from safechain_ray.commands import judge as judge_command
from safechain_ray.commands.evaluate import open_run
from safechain_ray.commands.judge import JudgePass
from safechain_ray.config import JudgeConfig, JudgingConfig, ResourcesConfig, read_config, read_config_as
from safechain_ray.errors import InputError
from safechain_ray.runs import workload
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import resolve, resolve_judge
from safechain_ray.runs.workload import Remaining
from safechain_ray.storage import Folder
from safechain_ray.testing import verdict
from safechain_ray.types import PIECES_SCHEMA, samples_from_table, samples_table, verdicts_table
from tests.made_runs.by_config import USUAL, finished_run

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")

GUARD = "demo-guard"
FEW: dict[str, Any] = {"datasets": [{"name": "quickstart", "limit": 2}]}


class Spoken:
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def report(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def update(self, snapshot: object) -> None: ...


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return finished_run(tmp_path / "run", **FEW)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The samples that are judged, pass by pass, in place of judging them."""
    found: list[tuple[str, ...]] = []
    actual = judge_command.remaining_passes

    def remaining(passes: Sequence[JudgePass], total: int, *arguments: Any) -> Remaining:
        found.extend(tuple(sorted(each.waiting)) for each in passes)
        return replace(actual(passes, total, *arguments), without_cluster=lambda show: 0)

    monkeypatch.setattr(judge_command, "remaining_passes", remaining)
    return found


def ids(run: RunFolder) -> list[str]:
    return [
        sample_id
        for name in run.samples.list_files(".parquet")
        for sample_id in run.samples.read_parquet(name, ["sample_id"])["sample_id"].to_pylist()
    ]


def write_verdicts(run: RunFolder, name: str, sample_ids: Sequence[str], error: str | None = None) -> None:
    (file,) = run.samples.list_files(".parquet")
    samples = samples_from_table(run.samples.read_parquet(file))
    by_id = {sample.sample_id: sample for sample in samples}
    added = verdict(None if error else False, GUARD, error=error)
    rows = [replace(by_id.get(each, samples[0]), sample_id=each, verdicts=(added,)) for each in sample_ids]
    run.verdicts(GUARD).write_parquet(name, verdicts_table(samples_table(rows)))


def judge(run: RunFolder, name: str = GUARD) -> list[str]:
    spoken = Spoken()
    config = read_config_as(JudgingConfig, None, {"judges": [name], "parts": ["response"]})
    judge_command.add_judges(str(run.folder), config, spoken, lambda start: None)  # type: ignore[arg-type,return-value]
    return spoken.sentences


def note_added(run: RunFolder) -> None:
    """Note the judge whose verdicts were written as one that was added to the run."""
    RunRecord.of_finished(run).judge_added(resolve_judge(JudgeConfig(name=GUARD)), ("response",))


def note_pieces(run: RunFolder) -> None:
    RunRecord.of_finished(run).thoughts_judged(resolve_judge(JudgeConfig(name=GUARD)))


def write_pieces(run: RunFolder, name: str, sample_ids: Sequence[str]) -> None:
    piece = {"setting_id": "s", "prompt_id": "p", "pieces": 3, "piece": 1, "end": 1, "characters": 3, "judge": GUARD}
    rows = [piece | {"sample_id": each, "unsafe": False} for each in sample_ids]
    run.prefix_verdicts(GUARD).write_parquet(name, PIECES_SCHEMA.empty_table().from_pylist(rows, PIECES_SCHEMA))
    note_pieces(run)


def tear(folder: Folder, name: str) -> None:
    path = Path(folder.path) / name
    path.write_bytes(path.read_bytes()[:-20])


def test_a_copy_without_prompts_is_judged_by_no_guard_but_by_a_rule(tmp_path: Path, asked: list[tuple[str, ...]]):
    run = finished_run(tmp_path / "copy", **FEW, parts=["response"])
    (file,) = run.samples.list_files(".parquet")
    samples = samples_from_table(run.samples.read_parquet(file))
    run.samples.write_parquet(file, samples_table([replace(each, prompt="") for each in samples]))
    with pytest.raises(InputError, match=r"no texts of the prompts of quickstart: .* Fix: judge the original run"):
        judge(run)
    assert not asked
    assert GUARD not in (Path(run.folder.path) / "run.json").read_text().partition("incomplete_judges")[2]
    answers = read_config_as(JudgingConfig, None, {"judges": ["refusal-match"], "parts": ["answer"]})
    judge_command.add_judges(str(run.folder), answers, Spoken(), lambda start: None)  # type: ignore[arg-type,return-value]
    assert asked == [tuple(sorted(ids(run)))]


def test_a_copy_without_responses_or_without_samples_is_not_judged_and_keeps_its_figures(tmp_path: Path):
    run = finished_run(tmp_path / "copy", **FEW, parts=["response"])
    (file,) = run.samples.list_files(".parquet")
    samples = samples_from_table(run.samples.read_parquet(file))
    without = [replace(each, thought=None, answer=None, response=None) for each in samples]
    run.samples.write_parquet(file, samples_table(without))
    before = files_of(run)
    for name in (GUARD, "refusal-match"):
        with pytest.raises(InputError, match=r"no texts of the responses: .* Fix: judge the original run\."):
            judge(run, name)
    assert files_of(run) == before
    run.samples.delete(file)
    before = files_of(run)
    with pytest.raises(InputError, match=r"has no samples: .* Fix: name the original run\."):
        judge(run, "refusal-match")
    with pytest.raises(InputError, match=r"has no samples: .* Fix: name the original run\."):
        judge_command.remove_judge(str(run.folder), GUARD, ResourcesConfig(), Spoken())  # type: ignore[arg-type]
    assert files_of(run) == before


def files_of(run: RunFolder) -> dict[str, bytes]:
    """The files of a run, without the lease."""
    root = Path(run.folder.path)
    found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def test_a_torn_file_of_verdicts_is_set_aside_and_its_samples_are_judged_again(
    run: RunFolder, asked: list[tuple[str, ...]]
):
    every = ids(run)
    write_verdicts(run, "a.parquet", every[:2])
    write_verdicts(run, "b.parquet", every[2:])
    tear(run.verdicts(GUARD), "a.parquet")
    sentences = judge(run)
    assert asked == [tuple(sorted(every[:2]))]
    assert run.verdicts(GUARD).list_files() == ["b.parquet"]
    assert (run.verdicts(GUARD) / "_broken").list_files() == ["a.parquet"]
    assert f"verdicts/{GUARD}/a.parquet can't be read" in sentences[0]
    assert sentences[0].endswith("Its rows are judged again.")


def test_samples_that_a_killed_command_repeated_are_judged_once(run: RunFolder, asked: list[tuple[str, ...]]):
    (name,) = run.samples.list_files(".parquet")
    run.samples.write_parquet("copy.parquet", run.samples.read_parquet(name))
    every = sorted(set(ids(run)))
    judge(run)
    assert asked == [tuple(every)]
    assert sorted(ids(run)) == every


@pytest.mark.parametrize("place", ["samples", "verdicts", f"verdicts/{GUARD}"])
def test_a_folder_that_is_a_link_to_other_files_is_refused_and_nothing_is_moved(
    run: RunFolder, tmp_path: Path, place: str
):
    write_verdicts(run, "a.parquet", ids(run))
    folder, elsewhere = Path(run.folder.path) / place, tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(InputError, match=f"{place} is a link, and rows are only written in real folders. Fix: "):
        judge(run)
    assert sorted(elsewhere.rglob("*")) == before


def test_another_judges_torn_file_is_moved_with_the_command_that_judges_its_rows_again(
    run: RunFolder, asked: list[tuple[str, ...]]
):
    write_verdicts(run, "a.parquet", ids(run))
    tear(run.verdicts(GUARD), "a.parquet")
    sentences = judge(run, "llama-guard-3-8b")
    assert (run.verdicts(GUARD) / "_broken").list_files() == ["a.parquet"]
    assert f"Fix: run `safechain-ray judge RUN --judge {GUARD}` with the same --part as before" in sentences[0]


def test_a_report_of_torn_verdicts_names_the_file_and_the_command_that_sets_it_aside(run: RunFolder):
    write_verdicts(run, "a.parquet", ids(run))
    note_added(run)
    tear(run.verdicts(GUARD), "a.parquet")
    result = CliRunner().invoke(app, ["report", str(run.folder), "--fine-grained"])
    assert result.exit_code == 1
    assert f"verdicts/{GUARD}/a.parquet" in result.stderr
    assert f"Fix: run `safechain-ray judge RUN --judge {GUARD}` with the same --part" in result.stderr


def test_a_torn_file_of_pieces_is_set_aside_and_its_thoughts_are_judged_again(
    run: RunFolder, asked: list[tuple[str, ...]]
):
    every = sorted(ids(run))
    write_pieces(run, "a.parquet", every[:2])
    write_pieces(run, "b.parquet", every[2:])
    tear(run.prefix_verdicts(GUARD), "a.parquet")
    spoken = Spoken()
    config = read_config_as(JudgingConfig, None, {"judges": [GUARD], "pieces": 3})
    judge_command.judge_thought_prefixes(str(run.folder), config, spoken, lambda start: None)  # type: ignore[arg-type,return-value]
    assert asked == [tuple(every[:2])]
    assert (run.prefix_verdicts(GUARD) / "_broken").list_files() == ["a.parquet"]
    assert f"pieces/{GUARD}/a.parquet can't be read" in spoken.sentences[0]


def test_the_runs_own_command_moves_a_torn_file_and_names_the_command_that_judges_its_rows_again(run: RunFolder):
    write_verdicts(run, "a.parquet", ids(run))
    tear(run.verdicts(GUARD), "a.parquet")
    spoken = Spoken()
    config = read_config(None, USUAL | FEW | {"output": str(run.folder)}, ())
    with open_run(config, resolve(config), spoken) as opened:
        assert opened.left == 0
    assert (run.verdicts(GUARD) / "_broken").list_files() == ["a.parquet"]
    assert f"Fix: run `safechain-ray judge RUN --judge {GUARD}`" in spoken.sentences[0]


def test_verdicts_of_added_judges_survive_a_rerun_that_is_interrupted_while_a_sample_is_judged_again(run: RunFolder):
    write_verdicts(run, "a.parquet", ids(run))
    (name, *_) = run.samples.list_files(".parquet")
    first, *rest = samples_from_table(run.samples.read_parquet(name))
    failed = tuple(replace(each, unsafe=None, error="HTTP 503") for each in first.verdicts)
    run.samples.write_parquet(name, samples_table([replace(first, verdicts=failed), *rest]))
    every = run.verdicts(GUARD).read_parquet("a.parquet").num_rows
    config = read_config(None, USUAL | FEW | {"output": str(run.folder)}, ())
    for _ in range(3):
        with open_run(config, resolve(config), spoken := Spoken()) as opened:
            assert opened.left == 1
        assert run.verdicts(GUARD).read_parquet("a.parquet").num_rows == every
        assert "does not have" not in " ".join(spoken.sentences)


def test_a_report_of_torn_pieces_names_the_file_and_the_command_that_sets_it_aside(run: RunFolder):
    write_pieces(run, "a.parquet", ids(run))
    tear(run.prefix_verdicts(GUARD), "a.parquet")
    result = CliRunner().invoke(app, ["report", str(run.folder), "--fine-grained"])
    assert result.exit_code == 1
    assert f"pieces/{GUARD}/a.parquet" in result.stderr
    assert f"Fix: run `safechain-ray judge RUN --judge {GUARD} --pieces N` with the same N" in result.stderr


def test_a_comparison_of_torn_verdicts_names_the_file_and_the_command_that_sets_it_aside(
    run: RunFolder, tmp_path: Path
):
    other = finished_run(tmp_path / "other", **FEW)
    write_verdicts(run, "a.parquet", ids(run))
    note_added(run)
    tear(run.verdicts(GUARD), "a.parquet")
    result = CliRunner().invoke(app, ["compare", str(other.folder), str(run.folder)])
    assert result.exit_code == 1
    assert f"verdicts/{GUARD}/a.parquet" in result.stderr
    assert f"Fix: run `safechain-ray judge RUN --judge {GUARD}` with the same --part" in result.stderr


def test_verdicts_on_samples_of_another_run_are_set_aside(run: RunFolder, asked: list[tuple[str, ...]]):
    write_verdicts(run, "a.parquet", [*ids(run), "stranger"])
    sentences = judge(run)
    assert asked == []
    assert f"verdicts/{GUARD}/a.parquet held 1 rows of samples that this run does not have" in sentences[0]


def test_just_the_verdicts_that_a_judge_failed_on_are_asked_for_again(run: RunFolder, asked: list[tuple[str, ...]]):
    every = ids(run)
    write_verdicts(run, "a.parquet", every[:3])
    write_verdicts(run, "b.parquet", every[3:5], error="HTTP 500")
    write_verdicts(run, "c.parquet", every[5:], error="the response is empty")
    judge(run)
    assert asked == [tuple(sorted(every[3:5]))]


@pytest.mark.parametrize("count", [-1, 1, 101, 2**31 - 1])
def test_a_file_of_pieces_with_counts_that_no_command_writes_is_refused_by_name(run: RunFolder, count: int):
    piece = {"setting_id": "s", "prompt_id": "p", "pieces": count, "piece": 1, "end": 1, "characters": 3}
    rows = [piece | {"sample_id": each, "judge": GUARD, "unsafe": False} for each in ids(run)]
    run.prefix_verdicts(GUARD).write_parquet("a.parquet", PIECES_SCHEMA.empty_table().from_pylist(rows, PIECES_SCHEMA))
    note_pieces(run)
    result = CliRunner().invoke(app, ["report", str(run.folder), "--fine-grained"])
    assert result.exit_code == 1
    assert f"pieces/{GUARD}/a.parquet holds thoughts in fewer than 2 or more than 100 pieces. Fix: " in result.stderr


@pytest.mark.parametrize(("error", "code"), [("HTTP 500", 3), ("the thought is empty", 0), (None, 0)])
def test_judging_in_pieces_ends_with_3_where_a_verdict_failed(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, error: str | None, code: int
):
    piece = {"setting_id": "s", "prompt_id": "p", "pieces": 3, "piece": 1, "end": 1, "characters": 3, "judge": GUARD}
    rows = [piece | {"sample_id": each, "unsafe": None if error else False, "error": error} for each in ids(run)]

    def run_attempt(*arguments: object, **more: object) -> int:
        run.prefix_verdicts(GUARD).write_parquet(
            "a.parquet", PIECES_SCHEMA.empty_table().from_pylist(rows, PIECES_SCHEMA)
        )
        return len(rows)

    monkeypatch.setattr(workload, "run_attempt", run_attempt)
    result = CliRunner().invoke(app, ["judge", str(run.folder), "--judge", GUARD, "--pieces", "3", "--no-html"])
    assert result.exit_code == code, result.output


@pytest.mark.parametrize(("error", "code"), [("HTTP 500", 3), ("the response is empty", 0), (None, 0)])
def test_judging_ends_with_3_where_a_verdict_failed(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, error: str | None, code: int
):
    def run_attempt(*arguments: object, **more: object) -> int:
        write_verdicts(run, "a.parquet", ids(run), error)
        return len(ids(run))

    monkeypatch.setattr(workload, "run_attempt", run_attempt)
    result = CliRunner().invoke(app, ["judge", str(run.folder), "--judge", GUARD, "--part", "response", "--no-html"])
    assert result.exit_code == code, result.output
