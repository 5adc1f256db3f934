"""Chat messages in the prompt column: one user turn is the prompt, a dialogue is a bad row."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.loading import ChatPrompt, PromptSet, chat_prompt, is_chat, load_prompts

USER = {"role": "user", "content": "Hello?"}
SYSTEM = {"role": "system", "content": "Be nice."}
ASSISTANT = {"role": "assistant", "content": "Hi."}


def loaded(folder: Path, *conversations: object) -> PromptSet:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps({"messages": each}) + "\n" for each in conversations))
    return load_prompts(adhoc_entry(str(path), prompt_column="messages"))


@pytest.mark.parametrize(
    ("turns", "system"),
    [
        ([USER], False),
        ([SYSTEM, USER], True),
        ([{"role": "developer", "content": "Be nice."}, USER], True),
        ([{"role": "system", "content": ""}, USER], False),
        ([{"role": "User", "content": "Hello?"}], False),
        ([{"from": "human", "value": "Hello?"}], False),
        ([{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo?"}]}], False),
        ([{"role": "user", "content": "Hello?", "name": "x"}], False),
    ],
)
def test_the_user_turn_is_the_prompt(turns: list[dict[str, object]], system: bool):
    assert is_chat(turns)
    assert chat_prompt(turns) == ChatPrompt("Hello?", system)


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ([USER, ASSISTANT], r"a dialogue of 2 turns (user, assistant)"),
        ([USER, ASSISTANT, USER], r"a dialogue of 3 turns (user, assistant, user)"),
        ([SYSTEM], "a dialogue of 1 turns (system)"),
        ([SYSTEM, SYSTEM, USER], "a dialogue of 3 turns (system, system, user)"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "holds parts that are no text"),
        ([{"role": "user", "content": ""}], "the prompt is empty"),
        ([{"role": "user", "content": None}], "the prompt is empty"),
        ([], "the prompt is no text but a value of type list"),
        ([{"role": "user"}], "the prompt is no text but a value of type list"),
        (["Hello?"], "the prompt is no text but a value of type list"),
        (USER, "the prompt is no text but a value of type dict"),
    ],
)
def test_what_has_no_single_user_turn_is_a_bad_row(tmp_path: Path, turns: object, problem: str):
    good, bad = loaded(tmp_path, [USER], turns).prompts
    assert good.error is None
    assert problem in (bad.error or "")


@given(text=st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip))
def test_a_chat_and_its_text_are_the_same_prompt(text: str, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.getbasetemp()
    chat = loaded(folder, [{"role": "user", "content": text}])
    assert chat.fingerprint == loaded(folder, text).fingerprint


def test_system_turns_that_are_left_out_are_said(tmp_path: Path):
    found = loaded(tmp_path, [SYSTEM, USER], [{"role": "user", "content": "Bye?"}])
    assert [prompt.text for prompt in found.prompts] == ["Hello?", "Bye?"]
    assert found.source.endswith("a.jsonl, without the system turns of 1 rows")


def test_messages_of_parquet_are_read_alike(tmp_path: Path):
    pq.write_table(pa.Table.from_pylist([{"messages": [USER]}]), tmp_path / "a.parquet")
    found = load_prompts(adhoc_entry(str(tmp_path / "a.parquet"), prompt_column="messages"))
    assert found.fingerprint == loaded(tmp_path, "Hello?").fingerprint


def test_a_text_that_is_json_stays_a_text(tmp_path: Path):
    assert loaded(tmp_path, json.dumps([USER])).prompts[0].text == json.dumps([USER])
