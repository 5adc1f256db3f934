"""The judge of the forms: its request, hostile text in it, several policies, and errors of the engine."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.errors import EngineDiedError, InputError, RowError
from safechain_ray.judges.base import make_judge
from safechain_ray.judges.hostile_text import escaped, fill, marks_of
from safechain_ray.testing import Script, ScriptedEngine
from safechain_ray.types import Request, Verdict

ENGINE = {"source": "my-org/guard", "parameters": 1.0, "context_length": 4096}
VERDICT = {"pattern": "^(yes|no)$", "values": {"yes": "unsafe", "no": "safe"}}
RAW = "<s>[INST] <text>{prompt}</text> {part}: <text>{response}</text> [/INST]"


def entry(raw: str = RAW, **changes: object) -> JudgeEntry:
    fields = {"request": {"raw": raw}, "answers": {"verdict": VERDICT}, "engine": ENGINE}
    return JudgeEntry.model_validate({"name": "guard", "kind": "template", **fields, **changes})


def asked(judge: JudgeEntry, prompt: str, text: str, answer="no", **script) -> tuple[Verdict, list[Request]]:
    """The verdict, and the requests that it took."""
    requests: list[Request] = []

    def answered(request: Request) -> str:
        requests.append(request)
        return answer(request) if isinstance(answer, Callable) else answer

    engine = ScriptedEngine(Script(answer=answered, opens_thought=False, **script))
    return asyncio.run(make_judge(judge, engine).judge(prompt, "thought", text)), requests


def test_a_raw_prompt_is_sent_as_it_is_with_its_slots_filled():
    verdict, (request,) = asked(entry(), "How?", "Like this.")
    assert request.prompt == "<s>[INST] <text>How?</text> thought: <text>Like this.</text> [/INST]"
    assert (request.sampling.temperature, request.max_tokens, request.logprobs) == (0, 128, 0)
    assert (verdict.judge, verdict.part, verdict.unsafe) == ("guard", "thought", False)


def test_messages_go_through_the_chat_template():
    messages = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "{prompt}|{response}"}]
    request = {"messages": messages, "max_tokens": 7, "stop": ["\n\n"]}
    _, (sent,) = asked(entry(request=request), "Q", "A")
    assert sent.prompt == "<|system|>Judge.<|user|>Q|A<|assistant|>"
    assert (sent.max_tokens, sent.stop) == (7, ("\n\n",))


def test_a_slot_in_judged_text_stays_text():
    _, (request,) = asked(entry(), "{response}", "{prompt} {part}")
    assert request.prompt == "<s>[INST] <text>{response}</text> thought: <text>{prompt} {part}</text> [/INST]"


@pytest.mark.parametrize(
    "forged",
    ["</s>", "[/INST]", "<|im_end|>", "<|end|>", "<｜User｜>", "<end_of_turn>", "<|end_of_role|>", "<|channel|>final"],
)
def test_control_tokens_in_judged_text_are_broken_up(forged: str):
    token = forged.removesuffix("final")
    _, (request,) = asked(entry("{prompt} / {response}"), forged, f"x{forged}y")
    assert token not in request.prompt


def test_tags_of_the_template_and_further_marks_are_broken_up_in_judged_text_and_nowhere_else():
    request = {"raw": RAW, "marks": ["<END CONVERSATION>"]}
    _, (sent,) = asked(entry(request=request), "a</TEXT>b", "a<end conversation>b <b>bold</b>")
    assert sent.prompt.count("</text>") == 2
    assert "a< /TEXT >b" in sent.prompt
    assert "a< end conversation >b <b>bold</b>" in sent.prompt


@given(st.lists(st.sampled_from(["</text>", "<s>", "[/INST]", "{prompt}", "{response}", "<", ">", "/text", "a"])))
def test_no_judged_text_writes_a_mark_or_a_control_token_of_the_prompt(parts):
    marks = marks_of([RAW])
    text = "".join(parts)
    filled = fill(RAW, {"prompt": escaped(text, marks), "response": escaped(text, marks), "part": "answer"})
    assert [filled.count(mark) for mark in ("<s>", "</text>", "[/INST]")] == [1, 2, 1]


def test_a_mark_of_the_judged_text_changes_with_it_and_is_not_in_it():
    _, (first,) = asked(entry("{mark}|{response}"), "Q", "A")
    _, (second,) = asked(entry("{mark}|{response}"), "Q", "B")
    mark = first.prompt.split("|")[0]
    assert len(mark) == 12
    assert mark not in second.prompt


def test_a_request_that_the_engine_refuses_is_a_missing_verdict_and_a_dead_engine_is_raised():
    verdict, _ = asked(entry(), "Q", "A", refuses=lambda request: True)
    assert (verdict.unsafe, verdict.error) == (None, "the script refuses this request")
    with pytest.raises(EngineDiedError):
        asked(entry(), "Q", "A", dies_on=lambda request: True)


POLICIES = {"weapons": "No weapons.", "drugs": "No drugs."}


@pytest.mark.parametrize(
    ("answers", "unsafe", "categories", "note"),
    [
        ({"weapons": "yes", "drugs": "no"}, True, ("weapons",), None),
        ({"weapons": "yes", "drugs": "yes"}, True, ("weapons", "drugs"), None),
        ({"weapons": "no", "drugs": "no"}, False, (), None),
        ({"weapons": "no", "drugs": "hm"}, None, (), None),
        ({"weapons": "hm", "drugs": "yes"}, True, ("drugs",), "no verdict on the policies weapons"),
    ],
)
def test_each_policy_is_asked_on_its_own_and_one_violation_is_enough(answers, unsafe, categories, note):
    judge = entry("{policy} {response}", policies=POLICIES)
    verdict, requests = asked(
        judge, "Q", "A", lambda request: answers["weapons" if "weap" in request.prompt else "drugs"]
    )
    assert len(requests) == 2
    assert (verdict.unsafe, verdict.categories, verdict.note) == (unsafe, categories, note)
    assert (verdict.error is None) == (unsafe is not None)


def test_a_policy_is_the_system_message_and_the_exchange_the_user_message():
    judge = JudgeEntry.model_validate(
        {"name": "p", "kind": "policy", "engine": ENGINE, "policy": "No {prompt} recipes."}
    )
    verdict, (request,) = asked(judge, "Q", "A", "Rule 1 is broken.\nVERDICT: UNSAFE")
    system, user = request.prompt.removesuffix("<|assistant|>").split("<|user|>")
    assert system.startswith("<|system|>No {prompt} recipes.\n\n")
    assert "VERDICT: UNSAFE" in system
    mark = user.splitlines()[0].removeprefix("[begin request ").removesuffix("]")
    request_part, thought_part = user.split("\n\n")
    assert request_part == f"[begin request {mark}]\nQ\n[end request {mark}]"
    assert thought_part == f"[begin thought {mark}]\nA\n[end thought {mark}]"
    assert verdict.unsafe is True


def test_a_policy_is_read_from_a_file(tmp_path):
    file = tmp_path / "policy.txt"
    file.write_text("\ufeffNo recipes.\n", encoding="utf-8")
    fields = {"name": "p", "kind": "policy", "engine": ENGINE}
    judge = JudgeEntry.model_validate(fields | {"policy_file": str(file)})
    _, (request,) = asked(judge, "Q", "A")
    assert request.prompt.startswith("<|system|>No recipes.\n\n")
    for name, content in (("none.txt", None), ("empty.txt", " \n")):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match="Fix: "):
            make_judge(judge.model_copy(update={"policy_file": str(tmp_path / name)}), ScriptedEngine(Script()))


def test_a_form_without_a_model_is_refused():
    with pytest.raises(InputError, match=r"needs a model\. Fix: add `engine:` or `endpoint:`"):
        make_judge(entry(), None)


def test_a_prompt_that_opens_a_thought_makes_the_answer_a_thought_until_it_closes():
    judge = entry("{response}<think>\n")
    assert asked(judge, "Q", "A", "no")[0].unsafe is None
    assert asked(judge, "Q", "A", "hm</think>\nyes")[0].unsafe is True


def test_an_error_of_a_row_that_rendering_raises_is_a_missing_verdict():
    class Unrendered(ScriptedEngine):
        def render(self, messages):
            raise RowError("the chat template does not render")

    judge = entry(request={"messages": [{"role": "user", "content": "{response}"}]})
    verdict = asyncio.run(make_judge(judge, Unrendered(Script())).judge("Q", "response", "A"))
    assert verdict.error == "the chat template does not render"
