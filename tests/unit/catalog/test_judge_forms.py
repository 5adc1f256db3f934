"""Entries of judges whose behaviour is data: what is refused when the catalog is read, and with which fix."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from safechain_ray.catalog import judges
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.catalog.judge_forms import POLICY_ANSWERS, POLICY_REQUEST
from safechain_ray.types.yaml_text import load_yaml

GUIDE = Path(__file__).parents[3] / "docs" / "extending.md"

ENGINE = {"source": "my-org/guard", "parameters": 1.0, "context_length": 4096}
ENDPOINT = {"base_url": "http://localhost:8000/v1", "model": "chat"}
REQUEST = {"messages": [{"role": "user", "content": "Q: {prompt}\nA: {response}"}]}
VERDICT = {"pattern": "^Harmful: *(yes|no)$", "values": {"yes": "unsafe", "no": "safe"}}
LINES = {
    "name": "guard",
    "kind": "labelled_lines",
    "engine": ENGINE,
    "request": REQUEST,
    "answers": {"verdict": VERDICT},
}


def entry(**changes: object) -> JudgeEntry:
    return JudgeEntry.model_validate({**LINES, **changes})


def refusal(**changes: object) -> str:
    with pytest.raises(ValidationError) as refused:
        entry(**changes)
    return str(refused.value)


def test_a_whole_entry_is_accepted():
    assert entry().answers is not None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("Q: {prompt}", "no slot for the judged text. Fix: put {response} where it belongs"),
        ("A: {respones}", "unknown slot {respones}. Fix: use {prompt}, {response}, {part}, {policy}, {mark}"),
        ("A: {response} {policy}", "the slot {policy} has no text. Fix: add `policy:`"),
    ],
)
def test_a_template_needs_its_slots_and_no_others(content: str, problem: str):
    assert problem in refusal(request={"messages": [{"role": "user", "content": content}]})
    if "policy" not in content:
        assert problem in refusal(request={"raw": content})


def test_braces_of_json_are_no_slots():
    request = {"raw": 'Answer {"score": 1, "why": {}} for {response}'}
    assert entry(request=request).request.slots == {"response"}


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("Harmful: (yes|no", "this is no regular expression: missing ), unterminated subpattern"),
        ("Harmful: yes", "the pattern has 0 groups, and needs one"),
        ("(Harmful): (yes|no)", "the pattern has 2 groups, and needs one"),
    ],
)
def test_a_pattern_is_a_regular_expression_with_one_group(pattern: str, problem: str):
    assert problem in refusal(answers={"verdict": VERDICT | {"pattern": pattern}})


@pytest.mark.parametrize("label", ["unsafe", "safe"])
def test_labels_without_one_of_the_two_decisions_are_refused(label: str):
    values = {name: value for name, value in VERDICT["values"].items() if value != label}
    assert f"no label means {label}. Fix: map one of the labels to {label}" in refusal(
        answers={"verdict": VERDICT | {"values": values}}
    )


def test_a_request_is_messages_or_raw():
    for request in ({}, REQUEST | {"raw": "{response}"}):
        assert "a request is either messages or raw. Fix: give one of them" in refusal(request=request)


def test_a_controversial_label_needs_a_reading_and_only_it():
    values = VERDICT["values"] | {"maybe": "controversial"}
    answers = {"verdict": VERDICT | {"values": values}}
    assert "choose `reading: strict` or `reading: loose`" in refusal(answers=answers)
    assert entry(answers=answers, reading="loose").reading == "loose"
    assert "no label is controversial, so there is one reading" in refusal(reading="loose")


def test_each_kind_decides_by_its_own_field():
    scale = {"patterns": [r"score: (\d)"], "lowest": 1, "highest": 5, "threshold": 3}
    tokens = {"tokens": {"Yes": "unsafe", "No": "safe"}}
    assert "does not decide by scale. Fix: give answers.verdict, or kind: template" in refusal(answers={"scale": scale})
    assert "give answers.verdict or answers.scale, or kind: first_token" in refusal(
        kind="template", answers={"first_token": tokens}
    )
    assert entry(kind="template", answers={"scale": scale}).answers.decides_by == ("scale",)
    assert "kind first_token does not decide by verdict. Fix: give answers.first_token" in refusal(kind="first_token")
    assert entry(kind="first_token", answers={"first_token": tokens}).answers.decides_by == ("first_token",)
    both = {"scale": scale, "verdict": VERDICT}
    assert "give one of verdict, scale and first_token" in refusal(kind="template", answers=both)


def test_a_model_answers_from_an_engine_or_an_endpoint():
    assert entry(engine=None, endpoint=ENDPOINT).calls_chat_api
    assert not entry().calls_chat_api
    for engine, endpoint in ((None, None), (ENGINE, ENDPOINT)):
        assert "give `engine:` or `endpoint:`, and not both" in refusal(engine=engine, endpoint=endpoint)


def test_a_raw_prompt_needs_an_engine():
    raw = {"raw": "{response}"}
    assert entry(request=raw).is_raw
    assert "a raw prompt needs an engine" in refusal(request=raw, engine=None, endpoint=ENDPOINT)


def test_a_policy_has_a_request_and_a_reading_by_default():
    judge = entry(kind="policy", request=POLICY_REQUEST, answers=POLICY_ANSWERS, policy="No recipes.")
    short = JudgeEntry(name="guard", kind="policy", engine=judge.engine, policy="No recipes.")
    assert short == judge
    assert "the slot {policy} has no text" in refusal(kind="policy", request=POLICY_REQUEST, answers=POLICY_ANSWERS)
    assert "the slot {policy} is nowhere in the request" in refusal(policy="No recipes.")
    assert "Fix: give one of them" in refusal(kind="policy", policy="a", policies={"b": "c"}, request=POLICY_REQUEST)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"lowest": 5, "highest": 1}, "lowest is not below highest"),
        ({"threshold": 6}, "threshold is outside the scale"),
        ({"zero_if_refusal": True}, "zero_if_refusal needs a refusal to read"),
        ({"patterns": []}, "patterns"),
    ],
)
def test_a_scale_has_its_ends_in_order_and_its_threshold_between(changes: dict[str, object], problem: str):
    scale = {"patterns": [r"score: (\d)"], "lowest": 1, "highest": 5, "threshold": 3, **changes}
    assert problem in refusal(kind="template", answers={"scale": scale})


def test_tokens_name_both_decisions_and_categories_name_tokens():
    for tokens in ({"Yes": "unsafe", "Ja": "unsafe"}, {"No": "safe", "Nein": "safe"}):
        assert "no token means" in refusal(kind="first_token", answers={"first_token": {"tokens": tokens}})
    unknown = {"tokens": {"Yes": "unsafe", "No": "safe"}, "categories": {"Maybe": "odd"}}
    assert "category of 'Maybe', which is no token" in refusal(kind="first_token", answers={"first_token": unknown})


def test_a_kind_with_code_takes_no_data_that_it_would_ignore():
    assert "kind llama_guard takes no request. Fix: leave it out" in refusal(kind="llama_guard")


def test_labels_of_yaml_are_texts():
    text = "{pattern: 'Harmful: (yes|no)', values: {yes: unsafe, no: safe}}"
    assert entry(answers={"verdict": load_yaml(text, "a test")}).answers.verdict.values == VERDICT["values"]


def test_only_fields_that_are_given_are_in_the_dump_so_that_older_runs_keep_their_identity():
    older = JudgeEntry(name="refusal-match", kind="refusal_match").model_dump()
    assert not {"request", "answers", "reading", "policy", "policy_file", "policies", "prompt_source"} & set(older)
    dumped = entry(prompt_source="a paper").model_dump()
    assert "prompt_source" not in dumped
    assert set(dumped["request"]) == {"messages", "max_tokens"}
    assert set(dumped["answers"]) == {"verdict"}


def test_the_judges_of_the_guide_are_entries():
    section = GUIDE.read_text(encoding="utf-8").partition("## Add a judge of a known kind")[2].partition("\n## ")[0]
    examples = [load_yaml(text, "the guide") for text in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)]
    fields = [{"name": name, **each} for example in examples for name, each in example["judges"].items()]
    entries = [JudgeEntry.model_validate(each) for each in fields]
    assert [entry.name for entry in entries] == ["my-wildguard", "my-rater", "my-first-token", "my-policy"]
    assert entries[0].answers == judges()["wildguard"].answers


def test_the_tokens_of_a_judges_own_text_and_answer_are_bounded():
    assert JudgeEntry(name="refusal-match", kind="refusal_match").own_tokens == 0
    judge = entry(request={"raw": "x" * 300 + "{response}", "max_tokens": 50})
    assert 50 + 100 <= judge.own_tokens <= 50 + 110
