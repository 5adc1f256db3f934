"""All models of the catalog against records of their chat templates; failures of `doctor --all-models`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safechain_ray import catalog
from safechain_ray.catalog.entries import ModelEntry
from safechain_ray.commands.doctor import Subject, all_models, any_failed
from safechain_ray.commands.doctor.access import HubAnswer
from safechain_ray.commands.doctor.all_models import (
    BEHIND_API,
    ModelReport,
    Tokenizers,
    examine_all_models,
    unverified_by_reason,
)
from safechain_ray.commands.doctor.judge import check_judge_prompt
from safechain_ray.commands.doctor.thinking import parsers_of_vllm
from tests.recorded_templates import (
    NOT_RECORDED,
    RecordedTokenizers,
    recorded_reports,
    records,
    report_of,
    table_of_records,
    table_of_unverified,
)

WITH_VLLM = pytest.mark.skipif(parsers_of_vllm() is None, reason="vLLM is not installed")
FAMILY_RECORDS = [record for record in records().values() if record.family is not None]

# Where a run's thought begins: the template writes the opening tag, or the model does.
OPENED_BY_TEMPLATE = {
    *("R1-1.5B", "R1-7B", "R1-8B", "R1-14B", "R1-32B", "R1-70B"),
    *("Qwen3-30B-A3B-Thinking", "Qwen3.6-27B", "Qwen3.6-35B-A3B", "QwQ-32B", "Nemotron-3-Nano", "GLM-4.7-Flash"),
    "demo-reasoner",
}
OPENED_BY_MODEL = {
    *("Qwen3-4B", "Qwen3-8B", "Qwen3-14B", "Qwen3-32B", "gpt-oss-20b", "gpt-oss-120b"),
    *("Ministral-3-14B-Reasoning", "R1-0528-Qwen3-8B", "Seed-OSS-36B", "Gemma-4-31B"),
}
WITHOUT_TAGS = {"QwQ", "Llama-3.3-70B-Instruct", "Llama-3.1-70B"}


@pytest.fixture(scope="module")
def reports() -> dict[str, ModelReport]:
    return {report.model: report for report in recorded_reports()}


def complaints(findings: Any) -> list[str]:
    return [f"{finding.check}: {finding.detail}" for finding in findings if finding.status in ("failed", "warning")]


def test_no_entry_disagrees_with_the_recorded_template_of_its_model(reports: dict[str, ModelReport]) -> None:
    assert {name: found for name, report in reports.items() if (found := complaints(report.findings))} == {}


def test_the_entries_that_could_not_be_verified_are_these(reports: dict[str, ModelReport]) -> None:
    found = {name: report.unverified.detail for name, report in reports.items() if report.unverified is not None}
    assert found == NOT_RECORDED | dict.fromkeys(catalog.api_models(), BEHIND_API)


def test_each_template_opens_the_thought_or_leaves_it_to_the_model(reports: dict[str, ModelReport]) -> None:
    said = {name: report.thought for name, report in reports.items() if report.unverified is None}
    assert {name for name, thought in said.items() if thought and "the template opens" in thought} == OPENED_BY_TEMPLATE
    assert {name for name, thought in said.items() if thought == "none"} == OPENED_BY_MODEL
    assert said.keys() == OPENED_BY_TEMPLATE | OPENED_BY_MODEL | WITHOUT_TAGS


@pytest.mark.parametrize("record", FAMILY_RECORDS, ids=lambda record: record.name)
def test_every_recorded_template_agrees_with_its_family(record: Any) -> None:
    """Those of models without an entry too: Gemma 4 E2B, Kimi K2, DeepSeek V4, and R1's older one."""
    assert complaints(report_of(record).findings) == []


@WITH_VLLM
def test_the_page_on_chat_templates_has_these_results() -> None:
    page = (Path(__file__).parents[4] / "docs" / "chat-templates.md").read_text(encoding="utf-8")
    _, models, unverified = page.split("\n## ")[:3]
    assert [line for line in models.splitlines() if line.startswith("| ")][1:] == table_of_records()
    assert [line for line in unverified.splitlines() if line.startswith("| ")][1:] == table_of_unverified()


def test_guards_with_a_recorded_template_get_request_thought_and_answer_whole() -> None:
    found = {}
    for name in ("llama-guard-3-8b", "llama-guard-3-1b"):
        judge, tokenizer = catalog.judges()[name], records()[name].tokenizer()
        found[name] = complaints(check_judge_prompt(Subject(name), tokenizer, judge))
    assert found == {
        "llama-guard-3-8b": ["BOS: the template writes white space before <|begin_of_text|>"],
        "llama-guard-3-1b": [],
    }


def test_a_record_answers_its_own_conversation_and_no_other() -> None:
    tokenizer = records()["qwen3"].tokenizer()
    turns = [{"role": "user", "content": "Another request"}]
    with pytest.raises(Exception, match="not recorded"):
        tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


QWEN3 = catalog.models()["Qwen3-4B"]


def entry(name: str, **fields: Any) -> ModelEntry:
    return QWEN3.model_copy(update={"name": name, **fields})


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Examines these entries, with a hub that gives `answer`; also lists what the hub is asked for."""
    asked: list[str] = []

    def of(*entries: ModelEntry, answer: HubAnswer) -> tuple[list[ModelReport], list[str]]:
        def ask_hub(subject: Subject, source: str, revision: str | None) -> HubAnswer:
            asked.append(source)
            return answer

        monkeypatch.setattr(all_models, "ask_hub", ask_hub)
        monkeypatch.setattr(catalog, "models", lambda: {each.name: each for each in entries})
        monkeypatch.setattr(catalog, "api_models", dict)
        return list(examine_all_models()), asked

    return of


HUB = Subject("hub")
SILENT = HubAnswer(HUB.not_checked("access", "not reachable: ConnectError", "check network"), reachable=False)
REFUSED = HubAnswer(HUB.failed("access", "the hub refuses x/y: it is gated", "accept"), reachable=True)
UNKNOWN = HubAnswer(HUB.failed("access", "the hub knows no x/y", "check the id"), reachable=True)


def test_a_hub_that_is_silent_once_is_not_asked_again(examined: Any) -> None:
    reports, asked = examined(entry("a", source="x/a"), entry("b", source="x/b"), answer=SILENT)
    assert asked == ["x/a"]
    (group,) = unverified_by_reason(reports)
    assert (group.reason, group.models) == ("the hub gives no files: not reachable: ConnectError", ("a", "b"))
    assert not any(any_failed(report.findings) for report in reports)


def test_a_gated_model_is_not_checked_and_an_unknown_id_fails(examined: Any) -> None:
    gated = entry("gated", source="x/y", gated=True, access="set HF_TOKEN")
    (report,), _ = examined(gated, answer=REFUSED)
    assert report.unverified is not None
    assert (report.unverified.detail, report.unverified.fix) == ("gated, and access is not granted", "set HF_TOKEN")
    (report,), _ = examined(entry("mistyped", source="x/y"), answer=UNKNOWN)
    assert report.unverified is None
    assert complaints(report.findings) == ["access: the hub knows no x/y"]


def test_a_broken_entry_is_a_finding_and_the_next_one_is_examined(examined: Any) -> None:
    whole = catalog.models()["demo-reasoner"]
    broken = whole.model_copy(update={"name": "broken", "chat_template": "{{ nothing.at_all.here }}"})
    lost = whole.model_copy(update={"name": "lost", "family": "no-such-family"})
    reports, _ = examined(broken, lost, whole, answer=SILENT)
    assert [any_failed(report.findings) for report in reports] == [True, True, False]
    (finding,) = reports[1].findings
    assert finding.detail.startswith("Unknown model family 'no-such-family'.")
    assert finding.fix == "give a known name"
    assert reports[2].summary() == {"template": "ok", "tags": "ok", "prefill": "ok", "switch": None, "parser": None}


def test_an_error_that_nobody_foresaw_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Tokenizers):
        def load(self, subject: Subject, model: ModelEntry) -> Any:
            raise RecursionError("too deep")

    reports = list(examine_all_models(Failing()))
    assert {finding.detail for report in reports for finding in report.findings if finding.check == "entry"} == {
        "RecursionError: too deep"
    }


@WITH_VLLM
def test_an_unverified_entry_still_shows_that_vllm_has_its_parser() -> None:
    report = next(report for report in examine_all_models(RecordedTokenizers()) if report.model == "Qwen3-4B-SafeRL")
    unknown = dict.fromkeys(("template", "tags", "prefill", "switch"), "not checked")
    assert report.summary() == {**unknown, "parser": "ok"}
