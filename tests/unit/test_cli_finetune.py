"""`safechain-ray finetune`: its plan, what it refuses before anything starts, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app
from safechain_ray.config import FinetuneConfig

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")

CONFIG = str(Path(__file__).parents[2] / "configs" / "paper" / "finetune_r1_7b.yaml")


def call(*arguments: str, profile: str | None = "demo") -> Result:
    named = ["--profile", profile] if profile else []
    return CliRunner().invoke(app, ["finetune", "--config", CONFIG, *named, *arguments])


def test_the_plan_of_a_large_model_is_shown_anywhere_and_says_what_is_missing_here():
    result = call("--plan", "--json", profile=None)
    assert result.exit_code == 2
    plan = json.loads(result.stdout)
    assert plan["gigabytes_a_worker"]["AdamW's two states"] == pytest.approx(7.09, abs=0.01)
    assert plan["total_gigabytes_a_worker"] < plan["gpu_gigabytes"] == 80
    assert plan["refusal"] in result.stderr
    assert "join a cluster with GPUs" in result.stderr


def test_the_plan_of_the_demo_fits_and_is_a_table():
    result = call("--plan")
    assert result.exit_code == 0, result.stderr
    assert "demo-reasoner: all weights" in result.stdout
    assert "AdamW's two states" in result.stdout


SET = """model: demo-reasoner
training_set: {{name: {name}, held_out: 0}}
max_length: 512
training: {{sequences_a_step: 1, precision: float32}}
output: runs/x
resources: {{workers: 1, device: cpu}}
"""
GOOD = {"prompt": "How?", "response": "<think>\nHm.\n</think>\n\nSo."}
EMPTY = {"prompt": "How?", "response": "<think>\n\n</think>\n\nSo."}


def plan_of(folder: Path, *rows: dict[str, str], arguments: tuple[str, ...] = ()) -> Result:
    data, config = folder / "set.jsonl", folder / "own.yaml"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config.write_text(SET.format(name=data))
    return CliRunner().invoke(app, ["finetune", "--config", str(config), "--plan", "--json", *arguments])


def test_the_plan_reads_the_data_and_counts_rows_and_tokens(tmp_path: Path):
    result = plan_of(tmp_path, GOOD, EMPTY, arguments=("--set", "training_set.on_bad_row=skip"))
    assert result.exit_code == 0, result.stderr
    planned = json.loads(result.stdout)["training_set"]
    assert (planned["rows"], planned["demonstrations"]) == (2, 1)
    assert planned["rows_left_out"] == {"the thought before </think> is empty": 1}
    assert planned["columns"] == {"prompt_column": "prompt", "response_column": "response"}
    assert (planned["learnt"]["examples"], planned["held_out"]) == (1, None)
    assert planned["learnt"]["response_tokens"] > 4


def test_the_plan_refuses_bad_rows_with_their_numbers_and_still_shows_the_memory(tmp_path: Path):
    result = plan_of(tmp_path, GOOD, EMPTY)
    assert result.exit_code == 2
    assert "row 2: the thought before </think> is empty" in result.stderr
    plan = json.loads(result.stdout)
    assert "row 2" in plan["refusal"]
    assert plan["gigabytes_a_worker"]


def test_the_plan_of_a_set_that_the_hub_does_not_give_says_so_and_goes_without(tmp_path: Path):
    result = plan_of(tmp_path, GOOD, arguments=("--set", "training_set.name=nobody-at-all/no-such-set"))
    assert result.exit_code == 0, result.stderr
    (note,) = (note for note in json.loads(result.stdout)["notes"] if "was not read" in note)
    assert "nobody-at-all/no-such-set" in note


def test_the_table_of_a_plan_shows_the_data():
    shown = call("--plan").stdout
    assert "Training set" in shown
    assert "tokens with loss, learnt" in shown


def test_adapters_are_a_flag():
    plan = json.loads(call("--plan", "--json", "--lora", "--lora-rank", "4").stdout)
    assert plan["adapters"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--workers", "3"), "which 3 workers (resources.workers) can't share evenly: make it a multiple of 3"),
        (
            ("--workers", "400", "--sequences-a-step", "400"),
            "400 training workers do not fit the cluster at once",
        ),
        (("--training-set", "quickstart-demonstration"), "Did you mean 'quickstart-demonstrations'?"),
        (("--max-length", "20"), "None of 111 demonstrations can be learnt from with max_length 20 tokens"),
        (("--sequences-a-step", "200"), "gives 111 examples, and a step takes 200 sequences"),
        (("--model", "QwQ", "--device", "cpu"), "QwQ"),
        (("--profile", "deme"), "Did you mean 'demo'?"),
        (("--report-to", "tensorbord"), "training.report_to.0: must be 'wandb', 'mlflow' or 'tensorboard'"),
        (("--set", "model.engine.chat_template=x"), "is no key of the config"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], says: str
):
    result = call(*arguments, "--output", str(tmp_path / "out"))
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_whose_template_has_no_tags_or_drops_the_request_is_refused(tmp_path: Path):
    from safechain_ray.demo import model_path

    folder = tmp_path / "model"
    folder.mkdir()
    for path in model_path("demo-reasoner").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = "{{ bos_token }}Think nothing.<think>\n\n</think>\n\n"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    named = ("--model", str(folder), "--family", "demo", "--device", "cpu", "--output", str(tmp_path / "out"))
    result = call(*named)
    assert result.exit_code == 2, result.output
    assert "The chat template writes the request 0 times" in result.stderr


@pytest.mark.parametrize(
    ("block", "flags", "rank"),
    [
        ("lora: {rank: 64}", (), 64),
        ("lora: {rank: 64}", ("--lora",), 64),
        ("lora: {rank: 64}", ("--lora", "--lora-rank", "8"), 8),
        ("lora:", ("--lora",), 16),
        ("lora:", (), None),
        ("lora: {rank: 64}", ("--lora", "--set", "training.lora={}"), 16),
    ],
)
def test_the_flag_for_adapters_leaves_what_the_file_says_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: str, flags: tuple[str, ...], rank: int | None
):
    config = tmp_path / "own.yaml"
    config.write_text(
        f"model: demo-reasoner\ntraining_set: quickstart-demonstrations\noutput: x\ntraining:\n  {block}\n"
    )
    read: list[FinetuneConfig] = []
    command = sys.modules["safechain_ray.cli.finetune"]
    monkeypatch.setattr(command, "_train", lambda config, as_json: read.append(config))
    result = CliRunner().invoke(app, ["finetune", "--config", str(config), *flags])
    assert result.exit_code == 0, result.output
    lora = read[0].training.lora
    assert (lora and lora.rank) == rank


def without(*packages: str) -> str:
    """A program that calls the command where these packages can't be imported."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({packages!r})); "
    return f"{hidden}from safechain_ray.cli import main; main()"


def call_without(*packages: str, arguments: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", without(*packages), "finetune", "--config", CONFIG, "--profile", "demo"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "arguments", "says"),
    [
        (
            ("torch", "trl", "accelerate", "peft"),
            (),
            "not installed here (torch, trl, accelerate, peft). Fix: pip install 'safechain-ray[train]'",
        ),
        (
            ("tensorboard", "wandb"),
            ("--report-to", "tensorboard", "--report-to", "wandb"),
            "training.report_to names tensorboard and wandb, not installed here. Fix: pip install tensorboard wandb",
        ),
    ],
    ids=["training", "trackers"],
)
def test_packages_that_are_missing_are_named_before_anything_starts(
    tmp_path: Path, missing: tuple[str, ...], arguments: tuple[str, ...], says: str
):
    result = call_without(*missing, arguments=(*arguments, "--output", str(tmp_path / "out")))
    assert result.returncode == 2, result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_driver_without_torch_still_plans():
    result = call_without("torch", "trl", "accelerate", "peft", arguments=("--plan",))
    assert result.returncode == 0, result.stderr
    assert "AdamW's two states" in result.stdout


def test_help_has_examples():
    shown = CliRunner().invoke(app, ["finetune", "--help"]).stdout
    assert "--profile demo" in shown
    assert "--plan" in shown


def test_plan_says_which_command_shows_a_training():
    result = CliRunner().invoke(app, ["plan", "--config", CONFIG])
    assert result.exit_code == 2
    assert f"safechain-ray finetune --config {CONFIG} --plan" in result.stderr
