"""The catalog as tables and as JSON."""

import io
import json

import pytest
from rich.console import Console

from safechain_ray import catalog
from safechain_ray.catalog.entries import ModelEntry
from safechain_ray.catalog.published import published_figures
from safechain_ray.decoding.base import STRATEGIES
from safechain_ray.report.listing import LISTINGS, entries, print_entries

NAMES = {
    "models": {**catalog.models(), **catalog.api_models()},
    "apis": catalog.api_models(),
    "datasets": catalog.datasets(),
    "responses": catalog.responses(),
    "benchmarks": catalog.benchmarks(),
    "training-sets": catalog.training_sets(),
    "judges": catalog.judges(),
    "strategies": STRATEGIES,
    "families": catalog.families(),
}


def test_every_kind_of_the_catalog_is_listed():
    assert set(LISTINGS) == set(NAMES)


@pytest.mark.parametrize("kind", NAMES)
def test_a_kind_is_listed_whole_on_a_terminal_and_as_json(kind: str):
    listed = json.loads(json.dumps(entries(kind)))
    assert [entry["name"] for entry in listed] == list(NAMES[kind])
    assert len({tuple(entry) for entry in listed}) == 1
    out = io.StringIO()
    print_entries(kind, Console(file=out, width=400))
    assert all(name in out.getvalue() for name in NAMES[kind])


def test_json_has_every_field_that_an_entry_sets():
    qwen3 = {entry["name"]: entry for entry in entries("families")}["qwen3"]["entry"]
    assert (qwen3["no_think"], qwen3["reasoning_parser"]) == ({"enable_thinking": False}, "qwen3")
    wildguard = {entry["name"]: entry for entry in entries("judges")}["wildguard"]["entry"]
    assert "You are a classifier" in json.dumps(wildguard["request"])


def test_keys_of_a_users_entry_are_redacted(monkeypatch: pytest.MonkeyPatch):
    known = catalog.models()["demo-reasoner"].model_dump() | {"engine_kwargs": {"hf_token": "hf_canary0123456789"}}
    entry = ModelEntry.model_validate({key: value for key, value in known.items() if value is not None})
    monkeypatch.setattr(catalog, "entry_of", lambda section, name: entry)
    assert "canary" not in json.dumps(entries("models"))


def test_a_models_entry_has_its_needs_and_whether_its_thought_can_be_separated():
    by_name = {entry["name"]: entry for entry in entries("models")}
    assert (by_name["R1-32B"]["GPUs"], by_name["R1-32B"]["thought apart"]) == (2, True)
    assert by_name["QwQ"]["thought apart"] is False


def test_the_papers_twelve_models_are_among_the_models_those_behind_apis_without_an_engine():
    by_name = {entry["name"]: entry for entry in entries("models")}
    assert set(published_figures().safety) <= set(by_name)
    r1 = by_name["R1"]
    assert (r1["GPUs"], r1["parameters (B)"], r1["thought apart"]) == (None, None, True)
    assert (r1["api"]["endpoint"], r1["api"]["key"], r1["api"]["$/M out"]) == (
        "https://api.deepseek.com",
        "DEEPSEEK_API_KEY",
        2.19,
    )


@pytest.mark.parametrize("kind", NAMES)
def test_eighty_columns_hold_every_line_whole(kind: str):
    out = io.StringIO()
    print_entries(kind, Console(file=out, width=80))
    assert all(len(line) <= 80 for line in out.getvalue().splitlines())
    assert "\u2026" not in out.getvalue()
    for entry in entries(kind):
        assert entry["name"] in out.getvalue()
        source = entry.get("source", "")
        assert "://" in source or all(word in out.getvalue() for word in source.split())


def test_a_models_json_has_every_field_of_the_catalog():
    by_name = {entry["name"]: entry for entry in entries("models")}
    r1 = by_name["R1-671B"]
    assert (r1["parallel on 80 GB"], r1["parallel on 48 GB"]) == (
        {"tensor": 8, "pipeline": 2},
        {"tensor": 8, "pipeline": 3},
    )
    assert (r1["dtype"], r1["weights dtype"], r1["tags"]["close"]) == ("bfloat16", "fp8", "</think>")
    assert by_name["QwQ"]["system prompt"].startswith("You are a helpful and harmless assistant")
    assert by_name["Llama-3.1-70B"]["gated"] is True
    assert "HF_TOKEN" in by_name["Llama-3.1-70B"]["access"]


def test_cells_are_for_people():
    out = io.StringIO()
    print_entries("models", Console(file=out, width=400))
    assert "yes" in out.getvalue()
    print_entries("datasets", Console(file=out, width=400))
    assert "313" in out.getvalue()
    print_entries("judges", Console(file=out, width=400))
    assert " - " in next(line for line in out.getvalue().splitlines() if "refusal-match" in line)
