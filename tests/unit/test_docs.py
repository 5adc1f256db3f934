"""docs/ and the README: their links lead somewhere, commands exist, figures and messages are the program's."""

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
import yaml

from safechain_ray.cli import app
from safechain_ray.commands.sweep.estimate import Assumptions, RunEstimate, estimate_sweep
from safechain_ray.config import SweepConfig, read_config_as
from safechain_ray.report.glossary import TERMS
from scripts.docs_pages import cli_page, config_page, glossary_page, undescribed
from tests.deployment import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
OPERATION = [page for page in PAGES if page.parent == ROOT / "docs"]

JOBS = {f"jobs/{path.name}": path.stem.replace("_", "-") for path in (ROOT / "jobs").glob("[a-z]*.py")}


def commands(page: Path) -> Iterator[list[str]]:
    """What the page's blocks of commands run, one list of words a command."""
    for language, block in re.findall(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE):
        if language not in ("", "bash"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if not line.startswith("#") and "…" not in line and "EOF" not in line and line.count("'") % 2 == 0:
                yield shlex.split(line, comments=True)


def ours(words: list[str]) -> list[str] | None:
    """The arguments of `safechain-ray` in a command, if it is one of its commands or jobs."""
    for number, word in enumerate(words):
        starts = number == 0 or words[number - 1] in ("--", "--ntasks=1")
        if starts and word in ("safechain-ray", ".venv/bin/safechain-ray"):
            return words[number + 1 :]
        if word in JOBS:
            return [JOBS[word], *words[number + 1 :]]
    return None


def test_no_two_commands_of_the_pages_write_to_one_folder():
    """A reader who follows two pages would meet the refusal of another run's folder."""
    runs: dict[str, set[tuple[str, ...]]] = {}
    for page in PAGES:
        for words in filter(None, map(ours, commands(page))):
            if "--output" in words and words[0] not in ("doctor", "plan"):
                place = words.index("--output")
                same = {
                    "--paper",
                    "--plan",
                    "--deadline",
                    "07:00",
                    "+8h30m",
                    "--accelerator",
                    "H100",
                    "--ray-address",
                    "auto",
                    "--only",
                    "R1-70B",
                    "QwQ",
                }
                rest = sorted({*words[:place], *words[place + 2 :]} - same)
                runs.setdefault(words[place + 1], set()).add(tuple(rest))
    assert {folder: each for folder, each in runs.items() if len(each) > 1} == {}


def parse(root: click.Group, arguments: list[str]) -> None:
    """Raises click's UsageError where there is no such command or flag; runs nothing."""
    command: click.Command = root
    context: click.Context | None = None
    name: str | None = "command"
    while isinstance(command, click.Group):
        # Commands inherit settings from their group's context, and click caches what they got first.
        context = click.Context(command, parent=context, **command.context_settings)
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command = found
    with command.make_context(name, list(arguments), parent=context):
        pass


@pytest.mark.filterwarnings("ignore")  # Ray's command imports Ray Serve
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_page_exists_with_its_flags(page: Path) -> None:
    from ray.scripts.scripts import cli as ray_cli

    for words in commands(page):
        if (arguments := ours(words)) is not None and not any("|" in word for word in arguments):
            parse(app, [word for word in arguments if word != ")"])
        if words[:1] == ["ray"] and words[1:2] != ["symmetric-run"]:
            end = words.index("&&") if "&&" in words else len(words)
            parse(ray_cli, words[1:end])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_profile_of_the_page_is_in_its_config(page: Path) -> None:
    for words in commands(page):
        flags = dict(pairwise(words))
        config = ROOT / flags.get("--config", "none")
        if "--profile" in flags and config.is_file():
            assert flags["--profile"] in yaml.safe_load(config.read_text())["profiles"], words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_file_of_the_page_is_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
        assert target in GENERATED or (page.parent / target).exists(), target
    for name in re.findall(r"(?<![\w/])(?:deploy|configs|jobs)/[\w./-]+\.(?:yaml|py)\b", text):
        assert (ROOT / name).exists(), name


GENERATED = ("cli.md", "config.md", "glossary.md")


def pages_of(navigation: object) -> Iterator[str]:
    """Pages in the order of the site's navigation."""
    if isinstance(navigation, str):
        yield navigation
    for item in navigation if isinstance(navigation, list) else []:
        yield from (page for value in item.values() for page in pages_of(value))


def test_the_index_and_the_navigation_name_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert [page.name for page in OPERATION if page.name != "index.md" and f"({page.name})" not in index] == []
    assert "docs/index.md" in (ROOT / "README.md").read_text()
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert sorted(pages_of(navigation)) == sorted([*(page.name for page in OPERATION), *GENERATED])


def test_every_config_key_is_described() -> None:
    assert list(undescribed()) == []


def test_the_page_of_commands_has_every_command_and_option() -> None:
    page = cli_page()
    for name, command in app.commands.items():
        shown = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert [each.opts for each in options if max(each.opts, key=len) not in shown] == []
    assert "| `-k, --samples INTEGER` | K, the samples of each prompt. |" in page
    assert "\b" not in page


def test_the_page_of_config_keys_shows_type_default_and_meaning() -> None:
    page = config_page()
    assert "| `samples` | whole number from 1 | `1` | K, the samples of each prompt |" in page
    assert "| `model` | [model](#modelconfig) | required | the model |" in page
    assert "### model { #modelconfig }" in page


def test_every_message_that_the_page_of_stuck_runs_explains_is_one_of_the_program() -> None:
    source = " ".join(path.read_text() for path in sorted((ROOT / "safechain_ray").rglob("*.py")))
    said = re.sub(r"""['"]\s*\n\s*f?['"]""", "", source)  # sentences that go on over lines
    said = re.sub(r"\{[^{}\n]*\}", "…", said)
    messages = re.findall(r"^\| `([^`]+)`", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(messages) > 8
    for message in messages:
        for piece in re.split(r"…|'[^']*'|s3://", message):
            assert piece.strip() in said, piece


def figures(estimate: RunEstimate) -> str:
    def amount(which: str) -> str:
        value = getattr(estimate, which)
        return "unknown" if value is None else f"{value.expected:.1f} ({value.at_most:.1f})"

    gpus = "API" if estimate.is_api else str(estimate.gpus)
    cost = f" {amount('dollars')} |" if estimate.is_api else " |"
    return f"| {estimate.model} | {gpus} + {estimate.judge_gpus} | {amount('gpu_hours')} |{cost}"


def test_the_table_of_cost_is_what_plan_prints() -> None:
    config = read_config_as(SweepConfig, ROOT / "configs" / "paper" / "main_table.yaml", {})
    estimates = estimate_sweep(config, Assumptions())
    page = (ROOT / "docs" / "sizing.md").read_text()
    assert [figures(estimate) for estimate in estimates if figures(estimate) not in page] == []
    hours = [estimate.gpu_hours for estimate in estimates if estimate.gpu_hours is not None]
    assert f"**{sum(h.expected for h in hours):.1f} ({sum(h.at_most for h in hours):.1f})**" in page
    assumed = Assumptions()
    for figure in (f"{assumed.response_tokens:,} a response", f"{assumed.peak_tflops:g} TFLOPS", "5 minutes"):
        assert figure in page


def test_the_glossary_has_every_definition_in_one_row() -> None:
    rows = [line for line in glossary_page().splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == ["name", *(term.name for term in TERMS.values())]
    assert all(row.count("|") == 4 for row in rows)
