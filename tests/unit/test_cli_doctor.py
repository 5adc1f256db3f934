"""`safechain-ray doctor`: what it prints, its JSON and its exit codes."""

import io
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from safechain_ray import catalog
from safechain_ray.cli import app
from safechain_ray.cli.doctor import render_findings
from safechain_ray.commands.doctor import Finding, Subject, all_models
from safechain_ray.commands.doctor.access import HubAnswer
from safechain_ray.engines.weights import weights_location


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_the_demo_models_are_checked_whole_and_are_well(tmp_path: Path):
    result = doctor(
        *("--model", "demo-reasoner", "--judge", "demo-guard", "--judge", "refusal-match"),
        *("--max-tokens", "1000", "--output", str(tmp_path / "run"), "--json"),
    )
    reported = json.loads(result.stdout)
    assert result.exit_code == 0
    assert reported["failed"] is False
    assert reported["counts"] == {"ok": len(reported["findings"]), "warning": 0, "failed": 0, "not checked": 0}
    assert {finding["subject"] for finding in reported["findings"]} == {
        *("demo-reasoner", "demo-guard", "refusal-match", "output")
    }


def test_a_judge_without_room_for_the_longest_response_is_a_warning_and_no_failure():
    result = doctor("--model", "demo-reasoner", "--judge", "demo-guard")
    assert result.exit_code == 0
    assert "1 warning" in result.stdout
    assert "Fix: lower max_tokens to 1,886 or less." in " ".join(result.stdout.split())
    assert "context_length" not in result.stdout  # the judge's context is the longest of its model already
    assert "warning" not in doctor("--model", "demo-reasoner", "--judge", "demo-guard", "--max-tokens", "1886").stdout


def test_weights_at_a_uri_that_lacks_a_slash_are_refused():
    result = doctor("--model", "demo-reasoner", "--weights", "s3:/bucket/model")
    assert result.exit_code == 2
    assert "Fix: write it as s3://bucket/model" in result.output


def test_a_broken_copy_of_a_model_fails_with_1_and_its_fix(tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(weights_location("package://demo-reasoner"), copy)
    config = json.loads((copy / "tokenizer_config.json").read_text())
    config["chat_template"] = "{{ bos_token }}" + config["chat_template"]
    (copy / "tokenizer_config.json").write_text(json.dumps(config))
    result = doctor("--model", "demo-reasoner", "--weights", str(copy))
    assert result.exit_code == 1
    assert "appears in the prompt 2 times" in " ".join(result.stdout.split())
    assert "Fix: write bos_token once in the template." in " ".join(result.stdout.split())


def test_an_output_that_can_not_be_written_fails(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    result = doctor("--output", str(tmp_path / "file" / "run"))
    assert result.exit_code == 1
    assert "1 failed" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "R1-7b"), "Did you mean 'R1-7B'?"),
        (("--model", "R1-7B", "--family", "r-1"), "Unknown model family 'r-1'. Did you mean 'r1'?"),
        (("--judge", "lama-guard"), "Unknown judge 'lama-guard'"),
        (("--weights", "/models/x"), "--weights needs a --model. Fix: add --model."),
        (("--model", "R1-7B", "--weights", "/no/such/folder"), "No model folder at /no/such/folder"),
        (("--set", "model.engine.dtype=float16"), "--set needs a --config, a --model or a --judge. Fix: add the one"),
        (("--model", "R1-7B", "--set", "model.engin.dtype=float16"), "did you mean 'engine'?"),
        (("--model", "R1-7B", "--max-tokens", "0"), "--max-tokens: 0 is too small. Fix: give 1 or more."),
        (("--all-models", "--model", "R1-7B"), "--all-models takes no options but --catalog and --json. Fix: check"),
        (("--all-models", "--gpu-check"), "--gpu-check takes no options"),
        (("--output", "ftp://host/run"), "ftp:// is not supported"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(arguments: tuple[str, ...], says: str):
    result = doctor(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_a_config_is_checked_with_its_models_judges_longest_response_and_output(tmp_path: Path):
    run = tmp_path / "run.yaml"
    run.write_text(
        "model: {name: demo-reasoner}\ndatasets: [{name: quickstart}]\njudges: [{name: demo-guard}]\n"
        f"sampling: {{max_tokens: 700}}\noutput: {tmp_path}/run\n"
    )
    checked = json.loads(doctor("--config", str(run), "--json").stdout)["findings"]
    assert {finding["subject"] for finding in checked} == {"demo-reasoner", "demo-guard", "output"}
    assert any("a response up to 700" in finding["detail"] for finding in checked)
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        run.read_text().replace("model: {name: demo-reasoner}", "models: [{name: demo-reasoner}, {name: R1-7B}]")
    )
    subjects = [finding["subject"] for finding in json.loads(doctor("-c", str(sweep), "--json").stdout)["findings"]]
    assert list(dict.fromkeys(subjects)) == ["demo-reasoner", "demo-guard", "R1-7B", "output"]
    assert subjects.count("output") == 1
    refused = doctor("--config", str(run), "--model", "R1-7B")
    assert (refused.exit_code, "--model does not apply beside --config. Fix: set" in refused.stderr) == (2, True)
    assert doctor("--profile", "demo").exit_code == 2
    assert doctor("--config", str(run), "--gpu-memory", "0").exit_code == 2


def test_each_model_of_a_sweep_is_checked_for_the_judges_room_and_the_configs_gpus_count(tmp_path: Path):
    sweep, copy = tmp_path / "sweep.yaml", tmp_path / "copy"
    shutil.copytree(weights_location("package://demo-reasoner"), copy)
    sweep.write_text(
        f"models: [{{name: demo-reasoner, engine: {{context_length: 500}}}}, {{name: {copy}, family: demo}}]\n"
        "datasets: [{name: quickstart}]\njudges: [{name: demo-guard}]\nsampling: {max_tokens: 2000}\n"
        f"resources: {{gpu_memory: 24}}\noutput: {tmp_path}/sweep\n"
    )
    findings = json.loads(doctor("--config", str(sweep), "--json").stdout)["findings"]
    assert [each["status"] for each in findings if each["check"] == "room"] == ["ok", "warning"]
    assert {each["check"] for each in findings if each["check"].startswith("memory")} == {"memory on 24 GB"}


def test_the_config_of_a_study_is_refused_by_name(tmp_path: Path):
    (tmp_path / "study.yaml").write_text("data: labels.csv\njudges: [{name: refusal-match}]\n")
    result = doctor("--config", str(tmp_path / "study.yaml"))
    assert (result.exit_code, "is the config of a study, and doctor checks those of" in result.stderr) == (2, True)


def test_set_changes_what_is_checked():
    flags = ("--model", "demo-reasoner", "--gpu-memory", "80", "--json")
    found = json.loads(doctor(*flags, "--set", "model.engine.context_length=4096").stdout)["findings"]
    assert [finding["fix"] for finding in found if finding["status"] == "failed"] == [
        "set the engine's context_length to 2048 or less"
    ]


def test_without_a_model_it_checks_the_installation():
    reported = json.loads(doctor("--json").stdout)
    assert {finding["subject"] for finding in reported["findings"]} == {"installation"}


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = HubAnswer(Subject("hub").not_checked("access", "not reachable", "check network"), reachable=False)
    monkeypatch.setattr(all_models, "ask_hub", lambda *_: answer)


@pytest.mark.usefixtures("silent_hub")
def test_all_models_without_a_hub_are_not_verified_and_that_is_no_failure():
    result = doctor("--all-models", "--json")
    assert result.exit_code == 0
    reported = json.loads(result.stdout)
    rows = {row["model"]: row for row in reported["models"]}
    assert rows["demo-reasoner"] == {
        **{"model": "demo-reasoner", "family": "demo", "template": "ok", "tags": "ok", "prefill": "ok"},
        **{"switch": None, "parser": None, "thought": "the template opens <think> itself"},
    }
    assert rows["Qwen3-8B"]["template"] == "not checked"
    hub, apis = reported["not_verified"]
    assert (hub["reason"], hub["fix"]) == ("the hub gives no files: not reachable", "check network")
    assert "R1-7B" in hub["models"]
    assert "Kimi-K2.6" in apis["models"]


@pytest.mark.usefixtures("silent_hub")
def test_all_models_shows_every_model_with_its_verdict_and_a_failure_with_its_fix(tmp_path: Path):
    mine = tmp_path / "mine.yaml"
    entry = {
        **{"source": "package://demo-reasoner", "family": "demo", "licence": "MIT", "parameters": 0.0015},
        **{"context_length": 2048, "chat_template": "{{ bos_token }}{{ bos_token }}{{ messages[-1].content }}\nGo:"},
    }
    mine.write_text(json.dumps({"models": {"my-model": entry}}))
    result = doctor("--all-models", "--catalog", str(mine))
    shown = " ".join(result.stdout.split())
    assert result.exit_code == 1
    assert "my-model demo failed ok ok - -" in shown
    assert "failed my-model, BOS: <｜begin▁of▁sentence｜> appears in the prompt 2 times" in shown
    assert "Fix: write bos_token once in the template." in shown
    assert "demo-reasoner demo ok ok ok - -" in shown
    assert "not verified, the hub gives no files: not reachable: R1-1.5B, R1-7B" in shown
    assert f"{len(catalog.models()) + len(catalog.api_models()) + 1} models: 1 verified, 1 failed," in shown


def test_foreign_text_in_a_finding_can_not_write_to_the_terminal():
    out = io.StringIO()
    render_findings([Finding("m", "chat template", "failed", "\x1b[2J[red]bad[/]", "fix")], Console(file=out, width=80))
    assert "\x1b" not in out.getvalue()
    assert "[red]bad[/]" in out.getvalue()
