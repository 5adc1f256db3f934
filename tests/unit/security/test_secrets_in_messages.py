"""Secrets in a config, where they belong or where they don't, are in no message of a command."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.cli import app
from safechain_ray.config import read_config

SECRET = "hunter2-canary-7788"
API = (
    "plan",
    "--model",
    "openai:m",
    "--base-url",
    "http://h/v1",
    "--dataset",
    "quickstart",
    "--judge",
    "refusal-match",
)
WITH_PASSWORD = f"http://user:{SECRET}@h/v1"
JUDGED = ("plan", "--model", "demo-reasoner", "--dataset", "quickstart", "--judge", "openai-moderation")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--output", "/no/such/folder"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*API, "--base-url", f"http://user:{SECRET}@h/v1"), "must hold no user, password"),
        ((*API, "--base-url", f"http://h/v1?key={SECRET}"), "must hold no user, password"),
        ((*API, "--base-url", f"{SECRET}://h"), "this is no endpoint"),
        (
            (*API, "--set", f"model.api_key_env={SECRET}"),
            "model.api_key_env: this is no name of an environment variable",
        ),
        (
            (*API, "--set", "model.api_key_env=hf_hunter2"),
            "model.api_key_env: this is no name of an environment variable",
        ),
        ((*API, "--set", f"model.api_key_env=['{SECRET}"), "model.api_key_env=… is not valid YAML"),
        ((*API, "--set", f"model.api_key_env=[{SECRET}]"), "model.api_key_env: must be text"),
        ((*API, "--set", f"model.api_key={SECRET}"), "model.api_key: is no key of the config"),
        ((*API, "--set", f"resources={SECRET}-{SECRET}"), "resources"),
        ((*API, "--set", f"model.api_key_env:{SECRET}"), "--set model.api_key_env: the key or the = is missing"),
        ((*JUDGED, "--set", f"judges.0.endpoint.base_url=http://u:{SECRET}@h/v1"), "judges.0.endpoint.base_url"),
        ((*JUDGED, "--set", f"judges.0.endpoint.api_key_env={SECRET}"), "this is no name of an environment variable"),
        ((*JUDGED, "--set", f"judges=[{{name: openai-moderation, endpoint: [{SECRET}]}}]"), "(found a list)"),
        ((*API, "--set", f"{SECRET}=x"), "***: is no key of the config"),
        ((*API, "--set", SECRET), "--set ***: the key or the = is missing. Fix: write key=value"),
        ((*API, "--set", f"datasets.{SECRET}.x=1"), "--set datasets.***.x: datasets has no item ***;"),
        ((*API, "--set", f"samples={SECRET}"), "samples: must be a whole number (found text)"),
        ((*API, "--set", f"{SECRET}=!!int {SECRET}"), "does not fit the tag !!int"),
        ((*API, "--set", f"samples=!{SECRET} x"), "this tag is none of !!bool"),
        ((*API, "--set", f"model.base_url=host:{SECRET}/v1"), "this is no endpoint"),
        ((*API, "--dataset", f"ftp://user:p@{SECRET}@h/x.csv"), "ftp://***@h/x.csv"),
    ],
)
def test_a_secret_in_a_wrong_place_is_refused_and_not_quoted(arguments: tuple[str, ...], says: str):
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert "hunter2" not in result.output


@pytest.mark.parametrize("key", ["sk-hunter2", "hf_hunter2", "0123hunter2456789012345"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "model.name={}"),
        ("--model", "{}"),
        ("--dataset", "{}"),
        ("--judge", "{}"),
        ("--strategy", "{}"),
        ("--vote", "{}"),
        ("--profile", "{}"),
        ("--family", "{}", "--model", "org/model"),
        ("--set", "datasets.0.benign_categories=['{}']"),
    ],
)
def test_a_key_in_the_place_of_a_name_is_not_quoted(arguments: tuple[str, ...], key: str):
    quickstart = ("plan", "--model", "demo-reasoner", "--dataset", "quickstart", "--judge", "demo-guard")
    result = call(*quickstart, *(argument.format(key) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert "hunter2" not in result.output


def test_a_body_that_holds_a_key_is_refused_because_it_would_be_recorded():
    result = call(*API, "--set", "model.api.extra_body={headers: [{key: sk-hunter2}]}")
    assert result.exit_code == 2, result.output
    assert "looks like a key, which would be recorded" in result.output
    assert "hunter2" not in result.output


def test_a_name_that_is_unknown_is_quoted():
    result = call("plan", "--model", "DeepSeek-R1-Distill-Llama-8b", "--dataset", "quickstart", "--judge", "demo-guard")
    assert "'DeepSeek-R1-Distill-Llama-8b'" in result.output


def test_a_key_of_a_megabyte_is_cut(tmp_path: Path):
    (tmp_path / "run.yaml").write_text(f"? {'k' * 10**6}\n: 1\n")
    result = call("plan", "--config", str(tmp_path / "run.yaml"))
    assert result.exit_code == 2
    assert "is no key of the config" in result.output
    assert len(result.output) < 2000


@pytest.mark.parametrize(
    "arguments",
    [
        (*API, "--base-url", WITH_PASSWORD),
        ("evaluate", *API[1:], "--base-url", WITH_PASSWORD),
        ("evaluate", *JUDGED[1:], "--set", f"judges.0.endpoint.base_url={WITH_PASSWORD}"),
        ("benchmark", "--model", "openai:m", "--benchmark", "gsm8k", "--base-url", WITH_PASSWORD),
        ("build-dataset", "--model", "openai:m", "--prompts", "p.csv", "--judge", "j", "--base-url", WITH_PASSWORD),
        ("judge", "/no/run", "--judge", "j", "--set", f"judges.0.endpoint.base_url={WITH_PASSWORD}"),
        ("judge-study", "--data", "d.csv", "--judge", "j", "--set", f"judges.0.endpoint.base_url={WITH_PASSWORD}"),
        ("prefer", "/no/a", "/no/b", "--judge", "j", "--set", f"judge.endpoint.base_url={WITH_PASSWORD}"),
        ("doctor", "--model", "openai:m", "--base-url", WITH_PASSWORD),
        ("sweep", "--config", "sweep.yaml"),
        ("plan", "--config", "sweep.yaml"),
    ],
)
def test_every_command_that_runs_or_plans_refuses_a_password_in_a_base_url(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    models = [{"name": "openai:m", "base_url": WITH_PASSWORD}]
    sweep = {"models": models, "datasets": ["quickstart"], "judges": ["refusal-match"], "output": "swept"}
    (tmp_path / "sweep.yaml").write_text(json.dumps(sweep))
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert "without user, password" in result.output or "must hold no user, password" in result.output
    assert SECRET not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_the_traceback_of_a_refusal_holds_no_secret():
    result = CliRunner().invoke(
        app, [*JUDGED, "--set", f"judges.0.endpoint.base_url=http://u:{SECRET}@h/v1", "--debug"]
    )
    assert "Traceback" in result.output
    assert SECRET not in result.output


@pytest.mark.parametrize(
    "key", ["sk-hunter2", "hf_hunter2", "ghp_hunter2", "xoxb-hunter2", "AKIAhunter2", "eyJhunter2"]
)
def test_a_short_value_with_the_prefix_of_a_key_is_not_quoted(key: str):
    result = call(*API, "--set", f"samples={key}")
    assert "samples: must be a whole number (found text)" in result.output
    assert "hunter2" not in result.output


def test_an_ordinary_wrong_word_is_quoted_and_the_nearest_key_is_named():
    result = call(*API, "--set", "samplse=1", "--set", "samples=two", "--set", "resources.prompts_per_blokc=1")
    assert "samplse: is no key of the config: did you mean 'samples'?" in result.output
    assert "samples: must be a whole number (found 'two')" in result.output
    assert "resources.prompts_per_blokc: is no key of the config" in result.output


@pytest.mark.parametrize(
    "line",
    [
        *(f"api_key_env: [{SECRET}", f"base_url: 'http://u:{SECRET}@h/v1", f"x: {{{SECRET}"),
        *("x: *hunter2", "x: !hunter2 y", "x: !hunter2!y z", f"{SECRET}: 1\n  {SECRET}: 2", f"x: !!int {SECRET}"),
        *("x: *hunter2\n  y: [", "x: [!hunter2 y"),
    ],
)
def test_a_line_that_is_no_yaml_and_may_hold_a_secret_is_named_and_not_quoted(tmp_path: Path, line: str):
    (tmp_path / "run.yaml").write_text(f"model:\n  name: openai:m\n  {line}\n")
    result = call("plan", "--config", str(tmp_path / "run.yaml"))
    assert result.exit_code == 2
    assert "line " in result.output
    assert "hunter2" not in result.output


def test_config_show_blots_out_passwords_and_queries_of_uris():
    result = CliRunner().invoke(
        app,
        [
            *("config", "show", "--json", "--model", "openai:m", "--base-url", f"http://u:{SECRET}@h/v1"),
            *("--dataset", f"https://h/x.csv?token={SECRET}'s", "--judge", "refusal-match"),
            *("--dataset", f"https://h/y.csv#{SECRET}"),
            *("--output", f"s3://id:p@{SECRET}@bucket/run"),
        ],
    )
    shown = json.loads(result.output)
    assert (shown["model"]["base_url"], shown["output"]) == ("http://***@h/v1", "s3://***@bucket/run")
    assert "hunter2" not in result.output


def test_the_name_of_a_variable_is_taken_and_none_is_sent_for_an_empty_one():
    keys = {
        "model": {"name": "openai:m", "base_url": "http://h/v1", "api_key_env": "MY_KEY_2"},
        "datasets": ["quickstart"],
    }
    assert read_config(None, {**keys, "judges": ["refusal-match"]}, ()).model.api_key_env == "MY_KEY_2"
    endpoint = {"name": "openai-moderation", "endpoint": {"api_key_env": ""}}
    assert read_config(None, {**keys, "judges": [endpoint]}, ()).judges[0].endpoint.api_key_env == ""


def test_a_validation_error_of_an_entry_quotes_no_value():
    with pytest.raises(ValueError, match="base_url") as refused:
        ApiEntry(name="m", api_model="m", base_url=f"http://u:{SECRET}@h/v1")
    assert "hunter2" not in str(refused.value)
