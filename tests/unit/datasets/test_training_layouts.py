"""Training data in common forms: chat messages, detected layouts, other thinking tags."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.catalog import families
from safechain_ray.datasets.adhoc import adhoc_training_set
from safechain_ray.datasets.layouts import RowError, foreign_tag, turns_of
from safechain_ray.datasets.training_sets import TrainingSet, load_training_set
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.types import Demonstration, Exchange

THOUGHT, ANSWER = "It asks for a recipe.", "Mix flour and water."
TAGGED = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"
SKY = (
    f"<|begin_of_thought|>\n\n{THOUGHT}\n\n<|end_of_thought|>\n\n"
    f"<|begin_of_solution|>\n\n{ANSWER}\n\n<|end_of_solution|>"
)
PLAIN = Demonstration(1, "How?", THOUGHT, ANSWER)


def loaded(folder: Path, *rows: Mapping[str, Any], skip: bool = False, **said: Any) -> TrainingSet:
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_training_set(adhoc_training_set(str(path), **said), "skip" if skip else "refuse")


def first(folder: Path, row: Mapping[str, Any], **said: Any) -> Demonstration:
    return loaded(folder, row, **said).demonstrations[0]


def refusal(folder: Path, *rows: Mapping[str, Any], **said: Any) -> str:
    with pytest.raises(InputError) as refused:
        loaded(folder, *rows, **said)
    return str(refused.value)


def chat(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def asked(reply: Any = TAGGED, **keys: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": reply, **keys}]}


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": "How?"}, {"from": "gpt", "value": TAGGED}]},
        {"conversations": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": TAGGED}]},
        asked(ANSWER, reasoning_content=THOUGHT),
        asked(ANSWER, thinking=THOUGHT),
        asked(ANSWER, reasoning=THOUGHT, reasoning_content=None),
        asked(TAGGED, reasoning_content=THOUGHT),
        asked([{"type": "text", "text": TAGGED}]),
        asked([{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}]),
        asked([TAGGED[:20], TAGGED[20:]]),
        {"messages": json.dumps(asked()["messages"])},
        chat(("User", "How?"), ("ASSISTANT", TAGGED)),
        chat(("system", ""), ("user", "How?"), ("assistant", TAGGED)),
        {"prompt": [{"role": "user", "content": "How?"}], "completion": [{"role": "assistant", "content": TAGGED}]},
        {"prompt": [{"role": "user", "content": "How?"}], "completion": TAGGED},
        {"prompt": "How?", "completion": TAGGED},
        {"Question": "How?", "Response": TAGGED, "id": "7"},
        {"instruction": "How?", "input": "", "output": TAGGED},
        {"question": "How?", "thinking": THOUGHT, "answer": ANSWER},
        asked(TAGGED.removeprefix("<think>\n")),
    ],
    ids=lambda row: json.dumps(row)[:60],
)
def test_every_form_of_one_exchange_is_the_same_demonstration(tmp_path: Path, row: dict[str, Any]):
    found = first(tmp_path, row)
    assert (found.system, found.prompt, found.thought, found.answer, found.earlier) == (
        None,
        "How?",
        THOUGHT,
        ANSWER,
        (),
    )


def test_parquet_with_parts_and_empty_keys_is_read(tmp_path: Path):
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "How?"}], "thinking": None},
        {"role": "assistant", "content": [{"type": "text", "text": ANSWER}], "thinking": THOUGHT},
    ]
    pq.write_table(pa.table({"messages": [turns]}), tmp_path / "set.parquet")
    (found,) = load_training_set(adhoc_training_set(str(tmp_path / "set.parquet"))).demonstrations
    assert (found.prompt, found.thought, found.answer) == ("How?", THOUGHT, ANSWER)


@pytest.mark.parametrize("role", ["system", "developer", "System"])
def test_a_system_turn_under_any_of_its_names_is_kept(tmp_path: Path, role: str):
    assert first(tmp_path, chat((role, "Be brief."), ("user", "How?"), ("assistant", TAGGED))).system == "Be brief."


def test_a_system_column_belongs_to_the_conversation_unless_it_is_said_not_to(tmp_path: Path):
    row = {**asked(), "system": "Be brief."}
    assert first(tmp_path, row).system == "Be brief."
    assert first(tmp_path, row, system_column="").system is None
    other = {**chat(("system", "Be long."), ("user", "How?"), ("assistant", TAGGED)), "system": "Be brief."}
    assert "two different system turns" in refusal(tmp_path, other)


@pytest.mark.parametrize("named", [{}, {"prompt_column": "instruction", "response_column": "output"}])
def test_the_input_of_an_instruction_is_part_of_the_prompt_whoever_names_the_columns(
    tmp_path: Path, named: dict[str, str]
):
    row = {"instruction": "Translate.", "input": "Guten Tag", "output": TAGGED}
    assert first(tmp_path, row, **named).prompt == "Translate.\nGuten Tag"
    assert first(tmp_path, {**row, "input": None}, **named).prompt == "Translate."
    columns = {"prompt_column": "instruction", "response_column": "output"}
    assert first(tmp_path, row, **columns, input_column="").prompt == "Translate."


@pytest.mark.parametrize("column", ["input", "context", "Context"])
@pytest.mark.parametrize("prompt", ["instruction", "prompt", "question"])
def test_input_and_context_belong_to_every_prompt(tmp_path: Path, prompt: str, column: str):
    row = {prompt: "Summarize.", column: "A long text.", "response": TAGGED}
    for named in ({}, {"prompt_column": prompt, "response_column": "response"}):
        assert first(tmp_path, row, **named).prompt == "Summarize.\nA long text."
        assert first(tmp_path, {**row, column: ""}, **named).prompt == "Summarize."
    assert first(tmp_path, row, input_column="").prompt == "Summarize."


def test_of_two_filled_columns_of_the_prompt_one_is_named(tmp_path: Path):
    row = {"prompt": "Why?", "input": "A", "context": "B", "response": TAGGED}
    message = refusal(tmp_path, row)
    assert "columns input and context" in message
    assert "Fix: name one of them with training_set.input_column" in message
    assert first(tmp_path, row, input_column="context").prompt == "Why?\nB"
    assert first(tmp_path, {**row, "input": ""}).prompt == "Why?\nB"
    named = {"prompt_column": "input", "response_column": "response"}
    assert first(tmp_path, row, **named).prompt == "A\nB"


def test_earlier_turns_of_an_instruction_are_refused_and_not_dropped(tmp_path: Path):
    row = {"instruction": "And now?", "output": TAGGED, "history": [["How?", "So."]]}
    assert "row 1: the column history holds earlier turns" in refusal(tmp_path, row)
    assert first(tmp_path, {**row, "history": []}).prompt == "And now?"


TALK = chat(("system", "Be brief."), ("user", "How?"), ("assistant", TAGGED), ("user", "Why?"), ("assistant", TAGGED))


def test_the_last_of_several_turns_is_learnt_after_the_earlier_answers(tmp_path: Path):
    (found,) = loaded(tmp_path, TALK).demonstrations
    assert (found.system, found.prompt, found.thought, found.answer) == ("Be brief.", "Why?", THOUGHT, ANSWER)
    assert found.earlier == (Exchange("How?", ANSWER),)
    assert found.first_prompt == "How?"


def test_every_assistant_turn_is_learnt_where_the_loss_is_on_all(tmp_path: Path):
    found = loaded(tmp_path, TALK, asked(), loss_on="all").demonstrations
    assert [(each.row, each.prompt, len(each.earlier)) for each in found] == [
        (1, "How?", 0),
        (1, "Why?", 1),
        (2, "How?", 0),
    ]
    assert {each.thought for each in found} == {THOUGHT}


@pytest.mark.parametrize("before", [ANSWER, f"<think>\n\n</think>\n\n{ANSWER}"])
def test_a_thought_may_be_missing_in_an_earlier_turn_that_is_not_learnt(tmp_path: Path, before: str):
    row = chat(("user", "How?"), ("assistant", before), ("user", "Why?"), ("assistant", TAGGED))
    assert first(tmp_path, row).earlier == (Exchange("How?", ANSWER),)
    assert "row 1:" in refusal(tmp_path, row, loss_on="all")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (asked("<think>\n\n</think>\n\nSo."), "the thought before </think> is empty"),
        (asked("</think>\n\nSo."), "the thought before </think> is empty"),
        (asked("<think>\n<think>\nHm\n</think>\n\nSo."), "more than once, or out of place"),
        (asked(ANSWER, thinking="  "), "the response holds no thought"),
        (asked("", thinking=THOUGHT), "the answer is empty"),
        (asked(TAGGED, thinking="Something else."), "another one of its own"),
        (asked(ANSWER, thinking=THOUGHT, reasoning="Other."), "two different thoughts"),
        (asked(ANSWER, thinking=7), "the thought is no text but a value of type int"),
        (asked([{"type": "image_url", "image_url": {"url": "x"}}]), "a part of type 'image_url'"),
        (asked(7), "the assistant turn is no text but a value of type int"),
        (asked(TAGGED, tool_calls=[{"name": "f"}]), "calls a tool"),
        (chat(("user", "How?"), ("tool", "7"), ("assistant", TAGGED)), "a turn of role 'tool'"),
        (chat(("user", "How?"), ("assistant", TAGGED), ("user", "Why?")), "does not end with an assistant turn"),
        (chat(("user", "How?"), ("user", "Why?"), ("assistant", TAGGED)), "do not alternate"),
        (chat(("assistant", "Hello."), ("user", "How?"), ("assistant", TAGGED)), "do not alternate"),
        (chat(("user", "How?"), ("system", "Stop."), ("assistant", TAGGED)), "a system turn after its start"),
        (
            chat(
                ("system", "Be brief."),
            ),
            "does not end with an assistant turn",
        ),
        ({"messages": '[{"role": "user"'}, "text that is not JSON"),
        ({"messages": []}, "no list of messages"),
    ],
)
def test_what_can_not_be_learnt_is_refused_with_its_row(tmp_path: Path, row: dict[str, Any], problem: str):
    message = refusal(tmp_path, asked(), row)
    assert "row 2: " in message
    assert problem in message
    assert "Fix: " in message
    assert [each.row for each in loaded(tmp_path, asked(), row, skip=True).demonstrations] == [1]


def test_tags_of_a_family_are_read_where_the_family_is_named_and_refused_elsewhere(tmp_path: Path):
    found = first(tmp_path, asked(SKY), family="sky-t1")
    assert (found.thought, found.answer) == (THOUGHT, ANSWER)
    for said in ({}, {"has_thoughts": False}):
        message = refusal(tmp_path, asked(SKY), **said)
        assert "row 1: the response holds <|begin_of_thought|>, a thinking tag of family sky-t1 (" in message
        assert "training_set.family: sky-t1" in message
    assert "the response holds <think>" in refusal(tmp_path, asked(TAGGED), family="sky-t1")


def test_a_model_of_the_family_reads_its_own_tags_and_r1s(tmp_path: Path):
    entry = adhoc_training_set(str(tmp_path / "set.jsonl"))
    loaded(tmp_path, asked(SKY), asked(TAGGED), skip=True)
    found = load_training_set(entry, model_tags=families()["sky-t1"].tags)
    assert {(each.thought, each.answer) for each in found.demonstrations} == {(THOUGHT, ANSWER)}


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (SKY.removesuffix("<|end_of_solution|>"), "the answer is not between"),
        (SKY.replace("<|begin_of_solution|>", ""), "the answer is not between"),
        (SKY + SKY, "more than once"),
        (SKY.replace(THOUGHT, ""), "is empty"),
        (SKY.replace(ANSWER, ""), "the answer after <|end_of_thought|> is empty"),
    ],
)
def test_broken_tags_of_a_family_are_refused(tmp_path: Path, reply: str, problem: str):
    assert problem in refusal(tmp_path, asked(reply), family="sky-t1")


@pytest.mark.parametrize(("family", "says"), [("sky-t2", "Did you mean 'sky-t1'"), ("qwq", "write no thinking tags")])
def test_a_family_without_tags_or_that_nobody_knows_is_refused(tmp_path: Path, family: str, says: str):
    assert says in refusal(tmp_path, asked(), family=family)


@pytest.mark.parametrize(
    "reply",
    [
        SKY,
        f"<thought>{THOUGHT}</thought>{ANSWER}",
        f"{THOUGHT}</thought>{ANSWER}",
        f"<thinking>{THOUGHT}</thinking>{ANSWER}",
        f"[THINK]{THOUGHT}[/THINK]{ANSWER}",
        f"◁think▷{THOUGHT}◁/think▷{ANSWER}",
        TAGGED,
        "<Think>a</Think>b",
        "<THINK>a</THINK>b",
        "<think >a</think >b",
        "< think>a</ think>b",
        "a</Think>b",
        '<thinking mode="x">a</thinking>b',
        "<|channel|>analysis<|message|>a<|end|>",
        "<|start|>assistant<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b",
        "So: <|channel|>analysis<|message|>a<|end|>b",
        "<|channel|>final<|message|>b",
        "<|think|>a",
        "So <|think|>a<|/think|>b",
        "<analysis>a</analysis>b",
        " <Scratchpad>a</Scratchpad>b",
        "<reflection>a</reflection>b",
        "<|Begin_of_thought|>a",
    ],
)
def test_no_familys_thought_passes_as_an_answer_of_a_control(tmp_path: Path, reply: str):
    assert "row 1: the response holds " in refusal(tmp_path, asked(reply), has_thoughts=False)


def test_a_tag_in_prose_or_xml_is_no_thought():
    assert foreign_tag("Write <thought>I am cold.</thought> into the XML file, then <thinking>.", None) is None
    assert foreign_tag(TAGGED, families()["r1"].tags) is None


@pytest.mark.parametrize(
    "text",
    [
        "gpt-oss writes `<|channel|>analysis<|message|>` before its thought.",
        "Split at `<|think|>`, and at <analysis> or </analysis>.",
        "<analysis-report>a</analysis-report>",
        "The reflection: a </reflection> tag closes it.",
        "analysis of <b>a</b>",
        "x <thinking id='1'>a</thinking> y",
    ],
)
def test_prose_and_code_may_name_a_tag(tmp_path: Path, text: str):
    assert first(tmp_path, asked(text), has_thoughts=False).answer == text


def test_a_thought_of_its_own_in_a_control_is_refused_and_not_dropped(tmp_path: Path):
    assert "has a thought of its own" in refusal(tmp_path, asked(ANSWER, thinking=THOUGHT), has_thoughts=False)


@pytest.mark.parametrize(
    ("row", "ways"),
    [
        ({**asked(), "conversations": asked()["messages"]}, 2),
        ({**asked(), "prompt": "How?", "response": TAGGED}, 2),
        ({"prompt": "How?", "question": "Why?", "response": TAGGED}, 2),
        ({"problem": "How?", "response": TAGGED, "answer": ANSWER}, 2),
    ],
)
def test_columns_that_can_be_read_in_several_ways_are_refused_with_all_of_them(
    tmp_path: Path, row: dict[str, Any], ways: int
):
    message = refusal(tmp_path, row)
    assert f"can be read in {ways} ways:" in message
    assert message.count("\n  ") == ways
    assert "Fix: name the columns in training_set" in message


def test_columns_that_hold_no_demonstration_are_named(tmp_path: Path):
    message = refusal(tmp_path, {"prompt": "How?", "chosen": TAGGED, "rejected": "No."})
    assert "Its columns: prompt, chosen, rejected. Fix: name the columns" in message


def test_what_was_read_is_said(tmp_path: Path):
    found = loaded(
        tmp_path, {"instruction": "How?", "input": "", "output": TAGGED}, {"instruction": "", "output": ""}, skip=True
    )
    assert found.columns == {"prompt_column": "instruction", "response_column": "output", "input_column": "input"}
    assert (found.rows, len(found.demonstrations), found.left_out) == (2, 1, {"the prompt is empty": 1})


def test_the_fingerprint_of_single_turns_is_that_of_earlier_versions_and_earlier_turns_count(tmp_path: Path):
    assert loaded(tmp_path, asked()).fingerprint == "34f847867a431e2f"
    other = chat(("user", "Who?"), ("assistant", TAGGED), ("user", "Why?"), ("assistant", TAGGED))
    talk = chat(("user", "How?"), ("assistant", TAGGED), ("user", "Why?"), ("assistant", TAGGED))
    assert loaded(tmp_path, talk).fingerprint != loaded(tmp_path, other).fingerprint


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "type", "text", "thinking"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_value_in_place_of_messages_is_read_or_refused_in_words(value: object):
    try:
        turns = turns_of(value)
    except RowError:
        return
    assert all(isinstance(turn.text, str) for turn in turns)


def test_an_unknown_family_is_an_unknown_name(tmp_path: Path):
    with pytest.raises(UnknownNameError):
        loaded(tmp_path, asked(), family="r2")
