"""The doctor on judges and strategies of users: correct ones pass, and a faulty one hides no other finding."""

from collections.abc import Mapping
from typing import Any

import pytest
from transformers import AutoTokenizer

from safechain_ray.catalog import families, judges
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.doctor.examine import examine
from safechain_ray.commands.doctor.judge import check_judge_prompt
from safechain_ray.commands.doctor.model import check_model_prompt
from safechain_ray.config import JudgeConfig
from safechain_ray.engines.weights import weights_location
from tests.unit.conftest import Use

SUBJECT = Subject("mine", "judges.0")
LABEL = {"verdict": {"pattern": "(safe|unsafe)", "values": {"safe": "safe", "unsafe": "unsafe"}}}
MESSAGES = {"messages": [{"role": "user", "content": "Is this safe? {response}"}]}


@pytest.fixture(scope="module")
def guard() -> Any:
    return AutoTokenizer.from_pretrained(weights_location("package://demo-guard"))


def judge_of(request: Mapping[str, Any], answers: Mapping[str, Any] = LABEL, kind: str = "template") -> JudgeEntry:
    engine = judges()["demo-guard"].engine
    return JudgeEntry.model_validate(
        {"name": "mine", "kind": kind, "request": request, "answers": answers, "engine": engine}
    )


def judged(tokenizer: Any, entry: JudgeEntry) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_judge_prompt(SUBJECT, tokenizer, entry)}


def test_a_judge_that_reads_the_response_alone_is_not_asked_for_the_request(guard: Any):
    found = judged(guard, judge_of(MESSAGES))
    assert (found["chat template"].status, found["chat template"].detail) == ("ok", "holds thought and answer whole")
    raw = judged(guard, judge_of({"raw": f"{guard.bos_token}Is this safe? {{response}}"}))
    assert "chat template" not in raw
    assert {finding.status for finding in raw.values()} == {"ok"}


def test_a_raw_request_without_its_bos_is_named_and_no_template(guard: Any):
    found = judged(guard, judge_of({"raw": "Is this safe? {response}"}))["BOS"]
    assert (found.status, found.fix) == ("failed", f"begin the request with {guard.bos_token}")


def test_a_dropped_thought_has_a_fix_in_the_request(guard: Any):
    guard = AutoTokenizer.from_pretrained(weights_location("package://demo-guard"))
    guard.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.content.split('ditches?')[-1] }}{% endfor %}"
    found = judged(guard, judge_of({"messages": [{"role": "assistant", "content": "{response}"}]}))["chat template"]
    assert (found.detail, "marks: [<think>, </think>]" in (found.fix or "")) == ("it drops the thought", True)


def test_a_name_of_several_tokens_is_a_warning_of_a_first_token_judge(guard: Any):
    answers = {"first_token": {"tokens": {"safe": "safe", "abominable": "unsafe"}}}
    found = judged(guard, judge_of(MESSAGES, answers, "first_token"))["tokens"]
    assert found.status == "warning"
    assert "abominable is " in found.detail
    assert " safe is " not in found.detail
    one = {"first_token": {"tokens": {"safe": "safe", "unsafe": "unsafe"}}}
    assert judged(guard, judge_of(MESSAGES, one, "first_token"))["tokens"].status == "ok"


def test_the_server_of_a_judge_is_asked_for_its_models(use: Use):
    use(
        judges_yaml="judges:\n  far:\n    kind: policy\n    policy: Be kind.\n"
        "    endpoint: {base_url: 'http://127.0.0.1:9/v1', model: m}\n"
    )
    findings = list(examine(None, (JudgeConfig(name="far"),), weights=None, output=None, gpu_memory=80, max_tokens=100))
    assert [(found.check, found.status) for found in findings] == [("endpoint", "not checked")]
    assert "http://127.0.0.1:9/v1 is not reachable from here" in findings[0].detail
    assert "--set judges.0.endpoint.base_url=URL" in (findings[0].fix or "")


CODE = """
from safechain_ray.decoding.base import Decoded, StrategyOptions
from safechain_ray.types import Request

class Options(StrategyOptions):
    times: int = 1

class Needs:
    class Options(StrategyOptions):
        word: str
    def __init__(self, options):
        self.options = options

class Strategy:
    def __init__(self, options):
        self.options = options

class Raises(Strategy):
    async def decode(self, task, generate, count_tokens):
        raise ValueError("boom at decode")

class Silent(Strategy):
    async def decode(self, task, generate, count_tokens):
        return Decoded("", "", "stop", 1, 0)

class Reads(Strategy):
    async def decode(self, task, generate, count_tokens):
        done = await generate(Request(task.prompt, task.sampling, 10, task.seed))
        return done.text.split()[0]
"""
STRATEGIES = "strategies:\n" + "".join(
    f"  {name.lower()}:\n    kind: faulty:{name}\n" for name in ("Raises", "Silent", "Reads", "Needs", "Absent")
)


def test_a_faulty_strategy_is_a_finding_with_its_line_and_hides_no_other(use: Use):
    folder = use(strategies_yaml=STRATEGIES, faulty_py=CODE)
    tokenizer = AutoTokenizer.from_pretrained(weights_location("package://demo-reasoner"))
    found = {each.check: each for each in check_model_prompt(SUBJECT, tokenizer, families()["demo"], None)}
    raises = found["prefill of raises"]
    place = f"{folder}/strategies.yaml, line"
    assert (raises.status, raises.detail) == (
        "failed",
        f"{place} 2: its code failed: ValueError: boom at decode",
    )
    assert found["prefill of silent"].detail == f"{place} 4: it sends no request"
    assert found["prefill of reads"].status == "warning"
    assert "after an empty completion: IndexError" in found["prefill of reads"].detail
    assert found["prefill of needs"].status == "not checked"
    assert "option 'word' is missing" in found["prefill of needs"].detail
    assert "has no class or function 'Absent'" in found["prefill of absent"].detail
    assert found["prefill of zerothink"].status == "ok"
