"""Kinds of judges: a module with a `build` adds one, and an unknown one breaks no other command."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import CliRunner

from safechain_ray import catalog, judges
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.cli import app
from safechain_ray.config import RunConfig
from safechain_ray.errors import UnknownNameError
from safechain_ray.judges.base import builder, make_judge
from safechain_ray.runs.resolve import resolve

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")

LONGEST = '''
from dataclasses import dataclass
from safechain_ray.types import Verdict

@dataclass(frozen=True)
class Longest:
    """Long text is unsafe."""
    name: str

    async def judge(self, prompt, part, text):
        return Verdict(self.name, part, len(text) > 3)

def build(entry, engine):
    return Longest(entry.name)
'''


@pytest.fixture
def with_judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeEntry]:
    """The catalog with one more judge, of kind `longest`."""
    entry = JudgeEntry(name="by-length", kind="longest")
    judges_now = MappingProxyType({**catalog.judges(), entry.name: entry})
    monkeypatch.setattr(catalog, "judges", lambda: judges_now)
    return entry


def config(judge: str) -> RunConfig:
    return RunConfig.model_validate({"model": "demo-reasoner", "datasets": ["quickstart"], "judges": [judge]})


def test_an_unknown_kind_is_refused_by_name_with_the_known_ones_before_an_engine_starts(with_judge: JudgeEntry):
    with pytest.raises(UnknownNameError) as refused:
        resolve(config("by-length"))
    known = "first_token, harmbench, labelled_lines, llama_guard, openai_moderation, policy, refusal_match, template"
    assert str(refused.value) == (
        f"Unknown kind of judge (judges.by-length, built-in) 'longest'. Known: {known}. "
        "Fix: give a known name, or module:name for code."
    )


def test_other_commands_and_other_judges_work_beside_an_unknown_kind(with_judge: JudgeEntry):
    assert resolve(config("refusal-match")).judges[0].kind == "refusal_match"
    listed = CliRunner().invoke(app, ["list", "judges", "--json"])
    assert (listed.exit_code, '"by-length"' in listed.stdout) == (0, True)


def test_a_module_with_a_build_is_a_kind(with_judge: JudgeEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "longest.py").write_text(LONGEST)
    monkeypatch.setattr(judges, "__path__", [*judges.__path__, str(tmp_path)])
    (entry,) = resolve(config("by-length")).judges
    assert asyncio.run(make_judge(entry, None).judge("prompt", "response", "long")).unsafe is True


JUDGES = [judge for judge in catalog.judges().values() if judge.kind != "preference"]


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge.name)
def test_every_judge_of_the_catalog_has_its_code(judge: JudgeEntry):
    assert callable(builder(judge))
