"""Commands that read run folders meet damaged ones: a sentence each, no raw Python error, and none hangs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from safechain_ray.catalog import families
from safechain_ray.cli import app
from safechain_ray.runs import workload
from safechain_ray.storage import open_folder
from safechain_ray.types import PIECES_SCHEMA, samples_table, verdicts_table
from tests import made_benchmarks
from tests.made_runs.by_samples import setting, varied, write_run
from tests.made_runs.damaged import damage

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")

LONGEST_SECONDS = 60
"""A command takes a fraction of a second on these runs; on a busy machine it waits for the processor."""

SETTINGS = [setting(), setting("zerothink")]
DAMAGED, WHOLE = "damaged", "whole"

RUN = [
    ("report", DAMAGED),
    ("report", DAMAGED, "--by-category", "--paper"),
    ("report", DAMAGED, "--fine-grained"),
    ("report", DAMAGED, "--benign-category", "Privacy"),
    ("report", DAMAGED, "--fine-grained", "--html"),
    ("status", DAMAGED),
    ("compare", WHOLE, DAMAGED),
    ("compare", DAMAGED, "--baseline", "default", "--paper"),
    ("judge", DAMAGED, "--judge", "refusal-match"),
    ("judge", DAMAGED, "--judge", "demo-guard", "--pieces", "3"),
    ("prefer", WHOLE, DAMAGED, "--judge", "prefer-llama-3.3-70b", "--output", "preferences"),
]
BENCHMARKS = [
    ("report", DAMAGED),
    ("report", DAMAGED, "--html"),
    ("status", DAMAGED),
    ("compare", WHOLE, DAMAGED),
]
SWEEP = [("report", DAMAGED), ("report", DAMAGED, "--html"), ("status", DAMAGED)]
COMMANDS = {"run": RUN, "benchmarks": BENCHMARKS, "sweep": SWEEP}


def make_run(folder: Path) -> None:
    samples = varied(SETTINGS, prompts=5)
    added = {"added": {"match": {"identity": {"name": "match", "kind": "refusal_match"}, "parts": ["answer"]}}}
    write_run(folder, SETTINGS, samples, **added)
    stored = open_folder(str(folder))
    record = json.loads(stored.read_text("run.json"))
    record["identity"]["family"] = families()["r1"].model_dump(mode="json")
    stored.write_text("run.json", json.dumps(record))
    (stored / "verdicts" / "match").write_parquet("part-0.parquet", verdicts_table(samples_table(samples)).slice(0, 0))
    (stored / "pieces" / "guard").write_parquet("part-0.parquet", PIECES_SCHEMA.empty_table())


def make_benchmarks(folder: Path) -> None:
    made_benchmarks.finished(folder.parent, {1: False, 2: None})
    shutil.move(folder.parent / "run", folder)


def make_sweep(folder: Path) -> None:
    for name in ("a", "b"):
        make_run(folder / name)
    models = [{"model": name, "folder": name, "status": "done", "tries": 1} for name in ("a", "b")]
    (folder / "sweep.json").write_text(json.dumps({"ended": None, "models": models}))


MAKE: dict[str, Callable[[Path], None]] = {"run": make_run, "benchmarks": make_benchmarks, "sweep": make_sweep}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind; nobody may change them."""
    made = {kind: tmp_path_factory.mktemp(kind) / WHOLE for kind in MAKE}
    for kind, folder in made.items():
        MAKE[kind](folder)
    return made


@pytest.fixture(autouse=True)
def no_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judges that are added decide nothing: what is tried here is reading."""
    monkeypatch.setattr(workload, "run_attempt", lambda *arguments, **more: 0)


def call(arguments: list[str]) -> Result | None:
    """None where the command has not ended in time."""
    results: list[Result] = []
    thread = Thread(target=lambda: results.append(CliRunner().invoke(app, arguments)), daemon=True)
    thread.start()
    thread.join(LONGEST_SECONDS)
    return results[0] if results else None


def complaint(result: Result | None) -> str | None:
    """What is wrong with how a command ended; None where it ended well, or with a sentence."""
    if result is None:
        return "it hangs"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"it raises {result.exception!r}"
    said = result.stderr.strip()
    if result.exit_code in (1, 2):
        if not said or "Failed: " in said:
            return f"it says {said!r}"
        if len(said) > 2000:
            return f"it says {len(said)} characters"
    return None if result.exit_code in (0, 1, 2, 3) else f"exit code {result.exit_code}"


def check(kind: str, whole: Path, folder: Path, seed: int) -> list[str]:
    """What goes wrong when all commands read one damaged folder; each gets a copy of its own."""
    wrong = []
    for number, command in enumerate(COMMANDS[kind]):
        place = folder / f"{seed}-{number}"
        shutil.copytree(whole, place / DAMAGED)
        shutil.copytree(whole, place / WHOLE)
        done = damage(place / DAMAGED, seed)
        arguments = [str(place / word) if word in (DAMAGED, WHOLE, "preferences") else word for word in command]
        if found := complaint(call(arguments)):
            wrong.append(f"{done}\n  {' '.join(command)}: {found}")
        shutil.rmtree(place)
    return wrong


def checked(kind: str, whole: dict[str, Path], folder: Path, seeds: range) -> str:
    return "\n".join(line for seed in seeds for line in check(kind, whole[kind], folder, seed))


@pytest.mark.parametrize("kind", COMMANDS)
def test_whole_runs_are_read_by_all_commands(whole: dict[str, Path], tmp_path: Path, kind: str):
    places = {DAMAGED: tmp_path / DAMAGED, WHOLE: whole[kind], "preferences": tmp_path / "preferences"}
    shutil.copytree(whole[kind], tmp_path / DAMAGED)
    for command in COMMANDS[kind]:
        arguments = [str(places.get(word, word)) for word in command]
        result = call(arguments)
        assert result is not None
        assert result.exit_code in (0, 3), (command, result.output)


def test_a_number_of_samples_that_no_run_has_is_no_endless_loop(whole: dict[str, Path], tmp_path: Path):
    shutil.copytree(whole["run"], tmp_path / DAMAGED)
    file = tmp_path / DAMAGED / "run.json"
    record = json.loads(file.read_text())
    for samples in (2**31 - 1, 10**18):
        record["identity"]["settings"][0]["samples"] = samples
        file.write_text(json.dumps(record))
        for command in RUN:
            arguments = [str(tmp_path / DAMAGED) if word == DAMAGED else word for word in command]
            if WHOLE not in arguments:
                assert complaint(call(arguments)) is None, command


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seeds"), [("run", range(12)), ("benchmarks", range(6)), ("sweep", range(6))])
def test_damaged_runs_are_refused_in_a_sentence_or_read(
    whole: dict[str, Path], tmp_path: Path, kind: str, seeds: range
):
    assert checked(kind, whole, tmp_path, seeds) == ""


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("kind", "seeds"),
    [("run", range(1000 + start, 1050 + start)) for start in range(0, 350, 50)]
    + [(kind, range(1000, 1075)) for kind in ("benchmarks", "sweep")],
)
def test_500_damaged_runs_are_refused_in_a_sentence_or_read(
    whole: dict[str, Path], tmp_path: Path, kind: str, seeds: range
):
    assert checked(kind, whole, tmp_path, seeds) == ""
