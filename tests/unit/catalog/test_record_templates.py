"""The records of chat templates: how they are made, and that they agree with their sources."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from safechain_ray.commands.doctor.model import PROBE
from tests.recorded_templates import NOT_RECORDED, record_of, records
from tools.record_templates import RECORDS, record, shortened

SOURCES: dict[str, dict[str, Any]] = yaml.safe_load((RECORDS / "sources.yaml").read_text(encoding="utf-8"))
ENTRY = {"model": "x/y", "models": ["x/y"], "family": "qwen3", "tokens": {"eos": "<|end|>", "added": ["<think>"]}}


def test_every_source_has_a_record_that_agrees_with_it():
    made = {name: yaml.safe_load((RECORDS / f"{name}.json").read_text(encoding="utf-8")) for name in records()}
    assert made.keys() == SOURCES.keys()
    for name, entry in SOURCES.items():
        assert {key: made[name][key] for key in entry} == entry, f"record {name} anew: tools/record_templates.py"
        assert entry["source"].keys() == {"repository", "path", "revision"}


def test_no_record_holds_a_template():
    assert not [file.name for file in RECORDS.iterdir() if "{%" in file.read_text(encoding="utf-8")]


def test_a_model_has_at_most_one_record_of_its_template():
    shipped = [model for entry in SOURCES.values() for model in entry["models"]]
    assert len(shipped) == len(set(shipped))
    assert record_of("openai/gpt-oss-120b") is records()["gpt-oss"]
    assert record_of("no/such-model") is None
    assert NOT_RECORDED


def test_a_record_has_each_setting_of_the_family_with_a_fixed_date(tmp_path: Path):
    file = tmp_path / "made-up.jinja"
    file.write_text(
        "{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }}\n{{ 'long ' * 30 }}\n{{ messages[-1].content }}"
        "<|end|>{% if enable_thinking is defined and not enable_thinking %}<think>{% endif %}",
        encoding="utf-8",
    )
    made = record("made-up", ENTRY, file)
    assert [each["arguments"] for each in made["renderings"]] == [{}, {"enable_thinking": False}]
    thinks, quiet = (each["prompt"].split("\n") for each in made["renderings"])
    assert thinks[0] == "2026-01-01 01 Jan 2026"
    assert thinks[1].startswith("[150 characters, sha256 ")
    assert (thinks[2], quiet[2]) == (f"{PROBE}<|end|>", f"{PROBE}<|end|><think>")
    assert made["reads"] == ["enable_thinking", "messages", "strftime_now"]
    assert len(made["sha256"]) == 64


@pytest.mark.parametrize(
    ("prompt", "recorded"),
    [
        ("a short line\nanother", "a short line\nanother"),
        ("KEEP" * 30 + "x" * 100, "KEEP" * 30 + "[100 characters, sha256 "),
        ("x" * 99, "x" * 99),
    ],
)
def test_long_lines_of_prose_are_recorded_by_length_and_hash(prompt: str, recorded: str):
    assert shortened(prompt, ["KEEP"]).startswith(recorded)
