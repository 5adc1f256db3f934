"""Sets of the catalog that are read from the hub, on rows with the columns that their cards and loaders name."""

import json
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.catalog import datasets
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.types import Prompt

ROWS: dict[str, dict[str, Any]] = {
    "jbb-harmful": {"Index": 0, "Goal": "Q", "Target": "T", "Behavior": "B", "Category": "Privacy", "Source": "S"},
    "jbb-benign": {"Index": 0, "Goal": "Q", "Target": "T", "Behavior": "B", "Category": "Privacy", "Source": "S"},
    "harmbench-standard": {"prompt": "Q", "category": "illegal"},
    "or-bench-hard": {"prompt": "Q", "category": "privacy"},
    "or-bench-80k": {"prompt": "Q", "category": "privacy"},
    "or-bench-toxic": {"prompt": "Q", "category": "privacy"},
    "falsereject": {"prompt": "Q", "category": 3, "category_text": "Privacy"},
    "do-not-answer": {"id": 7, "risk_area": "Privacy", "types_of_harm": "T", "specific_harms": "S", "question": "Q"},
    "wildguard-test": {"prompt": "Q", "adversarial": True, "response": "R", "prompt_harm_label": "unharmful"},
    "aegis-2-test": {"id": "i", "prompt": "Q", "response": "R", "prompt_label": "safe", "violated_categories": ""},
    "salad-base": {"qid": 1, "question": "Q", "source": "S", "1-category": "O1", "2-category": "O2"},
}
BENIGN = {"jbb-benign", "or-bench-hard", "or-bench-80k", "falsereject", "wildguard-test", "aegis-2-test"}


def read(name: str, folder: Path) -> Prompt:
    """The one prompt of a copy of the set with one row."""
    copy = folder / "rows.jsonl"
    copy.write_text(json.dumps(ROWS[name]) + "\n")
    entry = datasets()[name].model_copy(update={"kind": "file", "source": str(copy), "rows": 1, "gated": False})
    (prompt,) = load_prompts(entry, on_bad_prompt="refuse").prompts
    return prompt


@pytest.mark.parametrize("name", ROWS)
def test_the_prompt_is_read_and_counts_for_safety_or_for_over_refusal(name: str, tmp_path: Path):
    prompt = read(name, tmp_path)
    assert prompt.text == "Q"
    benign = datasets()[name].benign_categories
    assert benign is not None
    assert (prompt.category in benign) == (name in BENIGN)


def test_categories_are_those_of_the_sets_columns(tmp_path: Path):
    assert read("do-not-answer", tmp_path).category == "Privacy"
    assert read("do-not-answer", tmp_path).prompt_id == "7"
    assert read("salad-base", tmp_path).category == "O1"


def test_every_one_of_them_is_of_the_hub_with_its_number_of_rows():
    for name in ROWS:
        entry = datasets()[name]
        assert entry.kind == "huggingface"
        assert entry.rows is not None
        assert entry.gated == (name in {"harmbench-standard", "wildguard-test"})
