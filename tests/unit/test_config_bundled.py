"""Configs that ship with the package: found by name from any folder, and listed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from safechain_ray.cli import app
from safechain_ray.cli.completion import VALUES
from safechain_ray.config import CONFIG_KINDS, SweepConfig, about, bundled_configs, config_kind, read_config_as
from safechain_ray.config.bundled import config_path, find_config
from safechain_ray.errors import InputError
from tests.deployment import ROOT

NAMES = sorted(path.relative_to(ROOT / "configs").with_suffix("").as_posix() for path in ROOT.glob("configs/**/*.yaml"))


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_config_of_the_checkout_has_a_name() -> None:
    assert list(bundled_configs()) == NAMES
    assert {"quickstart", "paper/main_table", "story/evaluate"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_finds_its_file_from_an_empty_folder_also_as_the_path_in_a_checkout(name: str) -> None:
    files = {find_config(Path(path)) for path in (name, f"{name}.yaml", f"configs/{name}", f"configs/{name}.yaml")}
    assert files == {ROOT / "configs" / f"{name}.yaml"}


def test_a_file_on_disk_wins(empty_folder: Path) -> None:
    (empty_folder / "paper").mkdir()
    own = empty_folder / "paper" / "main_table"
    own.write_text("{}")
    assert find_config(Path("paper/main_table")).samefile(own)
    own.unlink()
    assert find_config(Path("paper/main_table")).is_relative_to(ROOT)


@pytest.mark.parametrize("file", ["quickstart.yaml", "quickstart.yml", "paper/main_table.yaml"])
def test_a_file_on_disk_wins_also_without_its_suffix(empty_folder: Path, file: str) -> None:
    own = empty_folder / file
    own.parent.mkdir(exist_ok=True)
    own.write_text("{}")
    assert find_config(Path(file).with_suffix("")).samefile(own)


@pytest.mark.parametrize("start", ["./", "../", "~/", "/nowhere/"])
def test_a_path_that_is_missing_is_refused_and_never_a_bundled_config(start: str) -> None:
    given = f"{start}configs/quickstart.yaml"
    done = CliRunner().invoke(app, ["config", "show", "--config", given])
    assert done.exit_code == 2, done.output
    assert "No config file at" in done.output
    assert "Nearest: quickstart. Fix: check the path" in " ".join(done.output.split())
    with pytest.raises(InputError, match="No config file at"):
        find_config(config_path(given))


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("paper/main_tabel", "Nearest: paper/main_table"),
        ("main_table", "Nearest: paper/main_table"),
        ("configs/quickstar.yaml", "Nearest: quickstart"),
    ],
)
def test_an_unknown_name_offers_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(InputError) as refused:
        read_config_as(SweepConfig, Path(given), {})
    assert str(refused.value).startswith(f"No config file at {given}, and no config of that name")
    assert nearest in str(refused.value)
    assert "Fix: check the path, or give a name that `safechain-ray config list` shows." in str(refused.value)


def test_the_config_of_another_command_is_refused_by_the_given_name() -> None:
    done = CliRunner().invoke(app, ["evaluate", "--config", "paper/main_table"])
    assert done.exit_code == 2
    assert "Fix: run `safechain-ray sweep --config paper/main_table`" in done.output


def test_the_list_has_name_command_profiles_and_a_sentence() -> None:
    done = CliRunner().invoke(app, ["config", "list"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for name in NAMES:
        (line,) = (line for line in done.output.splitlines() if line.split()[:1] == [name])
        kind = config_kind(Path(name))
        assert kind is not None
        assert CONFIG_KINDS[kind].command in line
    assert "The paper's main table: 12 models" in done.output


def test_the_list_as_json_has_the_files_to_copy() -> None:
    rows = json.loads(CliRunner().invoke(app, ["config", "list", "--json"]).output)
    assert {row["name"]: Path(row["file"]) for row in rows} == bundled_configs()
    (table,) = (row for row in rows if row["name"] == "paper/main_table")
    assert (table["command"], table["profiles"]) == ("sweep", ["demo"])


def test_every_config_says_what_it_is_in_its_first_sentence() -> None:
    for file in bundled_configs().values():
        assert len(about(file).split()) > 4, file


def test_the_shell_completes_names() -> None:
    assert list(VALUES["config"]()) == NAMES
