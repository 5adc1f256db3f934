"""The command: exit codes, errors as sentences, flags as keys of the config, JSON for machines."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from safechain_ray import __version__
from safechain_ray.cli import COMMANDS, app
from safechain_ray.cli.common import output_options
from safechain_ray.cli.options import keyed_options
from safechain_ray.cluster.planner import ClusterView, Node, make_plan
from safechain_ray.commands import evaluate as pipeline
from safechain_ray.config import (
    CONFIG_KINDS,
    CheckConfig,
    JudgingConfig,
    PreferenceConfig,
    RunConfig,
    json_schema,
    read_config,
    read_config_as,
)
from safechain_ray.config.base import FLAGS
from safechain_ray.errors import EngineStartError, InputError, RunConflictError, StallError
from safechain_ray.metrics.counts import merge
from safechain_ray.metrics.summary import summarise
from safechain_ray.report.html import write
from safechain_ray.report.quiet import quiet_libraries
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.pools import pool_needs
from safechain_ray.runs.resolve import resolve
from safechain_ray.storage import open_folder
from safechain_ray.types import Setting
from tests.deployment import ROOT
from tests.made_runs.by_samples import sample, setting, write_run

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")

RUN = ("--model", "demo-reasoner", "--dataset", "quickstart", "--judge", "refusal-match")
METRICS = summarise(merge([]), [Setting(dataset="quickstart")], [("refusal-match", "response")], {"quickstart": 2})


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def commands(group: click.Group = app, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield *path, name


def test_every_command_that_plans_replicas_takes_the_device_that_its_errors_name() -> None:
    for path in commands():
        flags = {flag for parameter in command_at(path).params for flag in parameter.opts}
        if {"--ray-address", "--accelerator"} <= flags or {"--ray-address", "--replicas"} <= flags:
            assert "--device" in flags, path


def command_at(path: tuple[str, ...]) -> click.Command:
    found: click.Command = app
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
def test_every_command_has_help_under_both_names(path: tuple[str, ...]):
    short, long = call(*path, "-h"), call(*path, "--help")
    assert (short.exit_code, short.stdout) == (0, long.stdout)


@pytest.mark.parametrize("path", [(), ("config",)], ids=" ".join)
def test_no_commands_line_in_the_help_of_its_group_is_cut_at_80_columns(path: tuple[str, ...]):
    # Click leaves a margin of two columns on a terminal, but not in CliRunner.
    shown = CliRunner().invoke(app, [*path, "-h"], terminal_width=78).stdout
    lines = shown.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert {line.split()[0] for line in lines} == {name[len(path)] for name in commands() if name[: len(path)] == path}
    for line in lines:
        assert len(line) <= 80
        assert line.endswith(".")
        assert not line.endswith("...")


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "safechain_ray", "--version"]
    assert __version__ in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("job", sorted((ROOT / "jobs").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_a_job_script_without_the_packages_ends_with_one_sentence(job: Path):
    run = subprocess.run([sys.executable, "-S", str(job), "--help"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.count("\n") == 1
    assert "has no package" in run.stderr
    assert "Fix: " in run.stderr


@pytest.fixture
def evaluation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Puts an end in the place of the real evaluation; gives the configs that it was called with."""

    def stand_in(error: Exception | None = None, errors: int = 0) -> list[RunConfig]:
        seen: list[RunConfig] = []

        def evaluate(config: RunConfig, progress: Any, start_engine: Any) -> Any:
            seen.append(config)
            progress.report("Engines are starting.")
            os.write(1, b"what Ray prints\n")
            if error is not None:
                raise error
            return SimpleNamespace(folder=RunFolder(open_folder(str(tmp_path / "run"))), metrics=METRICS, errors=errors)

        monkeypatch.setattr(pipeline, "evaluate", evaluate)
        monkeypatch.setattr(write, "write_report", lambda folder: f"{folder}/report.html")
        return seen

    return stand_in


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_commands_help_shows_an_example(path: tuple[str, ...]):
    result = call(*path, "--help")
    assert result.exit_code == 0
    assert f"safechain-ray {' '.join(path)}" in result.output.split("Example")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("evaluate", *RUN, "--model", "R1-7b"), "Unknown model 'R1-7b'. Did you mean 'R1-7B'?"),
        (("evaluate", *RUN, "--samples", "5"), "set a temperature above 0, or samples: 1"),
        (("evaluate", *RUN, "--model", "QwQ", "--strategy", "zerothink"), "Strategy 'zerothink' controls the text"),
        (("evaluate", *RUN, "--output", "ftp://host/run"), "ftp:// is not supported"),
        (("plan", *RUN, "--dataset", "no-such.csv"), "no-such.csv"),
        (("config", "show", *RUN, "--top-p", "0"), "sampling.top_p: must be above 0 (found 0.0)"),
        (("config", "show", *RUN, "--samples", "0"), "samples: must be at least 1"),
        (("config", "show", *RUN, "--set", "samples"), "--set samples: the key or the = is missing. Fix: write key="),
        (("config", "show", "--config", "no-such.yaml"), "No config file at no-such.yaml, and no config of that"),
        (("config", "show", "--prompt-column", "prompt"), "--prompt-column needs a --dataset. Fix: add --dataset"),
        (("config", "show", "--config", "no-such.yaml", "--limit", "3"), "--limit needs a --dataset. Fix: add"),
        (("report", "/no/such/run"), "There is no folder /no/such/run. Fix: check the path."),
        (("report", "/no/such/run", "--html"), "There is no folder /no/such/run"),
        (("report", "/no/such/run", "--samples-with-text", "5"), "Fix: give --html too"),
        (("judge", "/no/such/run", "--judge", "demo-guard"), "There is no folder /no/such/run"),
        (("judge", "/no/such/run"), "No judge is named. Fix: name one with --judge, or one to remove with"),
        (("judge", "/no/such/run", "--remove", "demo-guard", "--part", "answer"), "--remove JUDGE takes no --judge"),
        (("judge", "/no/such/run", "--remove", "demo-guard"), "There is no folder /no/such/run"),
        (("judge", "/no/such/run", "--judge", "demo-gard", "--judge", "demo-gard"), "judges names demo-gard more than"),
        (
            ("list", "model"),
            "'model' is not one of 'models', 'apis', 'datasets', 'responses', 'training-sets', 'benchmarks', ",
        ),
        (("evaluate", "--modle", "R1-7B"), "No such option '--modle'"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(arguments: tuple[str, ...], says: str):
    result = call(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output
    assert "Failed:" not in result.output


def test_removing_a_judge_creates_no_folder_at_a_mistyped_path(tmp_path: Path):
    assert call("judge", str(tmp_path / "mistyped"), "--remove", "demo-guard").exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "code"), [(("list", "models", "--json"), 0), (("list", "nothing"), 2)])
def test_the_exit_code_holds_when_a_native_library_crashes_at_exit(arguments: tuple[str, ...], code: int):
    crash_at_exit = "import ctypes; c = ctypes.CDLL(None); c.__cxa_atexit(c.abort, None, None)"
    command = f"import sys; sys.argv[1:] = {list(arguments)}; from safechain_ray.cli import main; main()"

    without = subprocess.run([sys.executable, "-c", crash_at_exit], check=False)
    ended = subprocess.run(
        [sys.executable, "-c", f"{crash_at_exit}; {command}"], stdout=subprocess.PIPE, text=True, check=False
    )

    assert without.returncode == -signal.SIGABRT
    assert ended.returncode == code
    assert bool(ended.stdout) == (code == 0)


def exit_code(*statements: str, stdout: int | IO[bytes] = subprocess.DEVNULL) -> int:
    """Of a process that makes an `ExitCode` and ends with the statements."""
    program = ["import sys", "from safechain_ray.cli.common import ExitCode", "kept = ExitCode()", *statements]
    return subprocess.run([sys.executable, "-c", "\n".join(program)], stdout=stdout, check=False).returncode


@pytest.mark.slow
def test_texts_and_errors_that_nothing_caught_end_with_1():
    assert exit_code("kept.keep(None)") == 0
    assert exit_code("kept.keep('a text')") == 1
    assert exit_code("kept.keep(0)", "raise RuntimeError('uncaught')") == 1


def test_output_that_finds_no_room_is_a_failure():
    with open("/dev/full", "wb") as full:
        assert exit_code("kept.keep(0)", "print('lost')", stdout=full) == 1


def test_json_reports_an_error_on_stdout_and_the_same_message_on_stderr():
    result = call("report", "/no/such/run", "--json")
    reported = json.loads(result.stdout)
    assert reported["exit_code"] == result.exit_code == 2
    assert reported["error"] == result.stderr.rstrip("\n")


def test_debug_shows_the_traceback_before_the_message():
    result = call("report", "/no/such/run", "--debug")
    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith(call("report", "/no/such/run").stderr)


def test_a_traceback_holds_no_secret(evaluation: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_quoted_by_a_hub_0815")
    error = ValueError("GET https://u:hunter2hunter2@hub/x: hf_quoted_by_a_hub_0815")
    error.__cause__ = OSError("s3://id:hunter2hunter2@bucket?secret_key=hunter2hunter2")
    evaluation(error)
    output = call("evaluate", *RUN, "--debug").output
    assert "Traceback" in output
    assert "hunter2" not in output
    assert "0815" not in output


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (EngineStartError("The engine did not start: CUDA out of memory"), 1, "The engine did not start: CUDA"),
        (StallError("No progress for 30 minutes."), 1, "No progress for 30 minutes."),
        (RunConflictError("runs/x holds another run."), 2, "runs/x holds another run."),
        (ValueError("\n".join(f"line {n}" for n in range(9))), 1, "Failed: ValueError: line 0\nline 1"),
    ],
)
def test_an_evaluation_that_fails_ends_with_its_errors_code_and_text(
    evaluation: Any, error: Exception, code: int, says: str
):
    evaluation(error)
    result = call("evaluate", *RUN)
    assert result.exit_code == code
    assert says in result.stderr
    assert "line 5" not in result.output
    assert "Traceback" not in result.output


def test_an_unforeseen_error_says_how_to_resume(evaluation: Any):
    evaluation(ValueError("odd"))
    assert "Completed work is saved. Fix: rerun the command to resume, with --debug" in call("evaluate", *RUN).stderr
    assert "ValueError: odd" in call("evaluate", *RUN, "--debug").stderr


@pytest.mark.parametrize(("errors", "code"), [(0, 0), (1, 3)])
def test_a_run_ends_with_0_or_with_3_where_samples_have_errors(evaluation: Any, tmp_path: Path, errors: int, code: int):
    evaluation(errors=errors)
    result = call("evaluate", *RUN)
    assert result.exit_code == code
    assert f"Results: {tmp_path / 'run'}" in result.stdout


def test_json_is_the_runs_metrics_and_nothing_else(evaluation: Any):
    evaluation()
    assert json.loads(call("evaluate", *RUN, "--json").stdout) == METRICS.model_dump(mode="json")


def test_every_flag_reaches_its_key(evaluation: Any, tmp_path: Path):
    seen = evaluation()
    flags = {
        "--family": "r1",
        "--prompt-column": "p",
        "--id-column": "i",
        "--category-column": "c",
        "--limit": "3",
        "--shuffle-seed": "4",
        "--strategy": "zerothink",
        "--samples": "5",
        "--temperature": "0.6",
        "--top-p": "0.95",
        "--top-k": "40",
        "--max-tokens": "600",
        "--seed": "7",
        "--part": "answer",
        "--output": "runs/x",
        "--device": "cpu",
        "--replicas": "2",
        "--ray-address": "auto",
        "--stall-timeout": "5",
        "--set": "resources.block_rows=8",
    }
    call("evaluate", *RUN, "--batch-invariant", *(word for flag in flags.items() for word in flag))
    columns = {"prompt_column": "p", "id_column": "i", "category_column": "c"}
    assert seen == [
        read_config(
            None,
            {
                "model": {"name": "demo-reasoner", "family": "r1"},
                "datasets": [{"name": "quickstart", **columns, "limit": 3, "shuffle_seed": 4}],
                "strategies": ["zerothink"],
                "sampling": {"temperature": 0.6, "top_p": 0.95, "top_k": 40, "max_tokens": 600, "seed": 7},
                "samples": 5,
                "judges": ["refusal-match"],
                "parts": ["answer"],
                "output": "runs/x",
                "resources": {
                    "device": "cpu",
                    "batch_invariant": True,
                    "replicas": 2,
                    "ray_address": "auto",
                    "stall_timeout_minutes": 5,
                    "block_rows": 8,
                },
            },
            (),
        )
    ]


CONFIG_OF = {
    **{kind.command: kind.model for kind in CONFIG_KINDS.values()},
    **{"plan": RunConfig, "judge": JudgingConfig, "prefer": PreferenceConfig, "doctor": CheckConfig},
}


@pytest.mark.parametrize(
    ("command", "key"), [(name, option.key) for name in CONFIG_OF for option in keyed_options(app.commands[name])]
)
def test_the_key_of_every_option_is_in_the_config_of_its_command(command: str, key: str):
    items = {key.partition(".*.")[0]: [{"name": "x"}]} if ".*." in key else {}
    with pytest.raises(InputError) as refusal:
        read_config_as(CONFIG_OF[command], None, items | {key.replace("*", "0"): object()})
    assert f"{key.replace('*', '0')}: " in str(refusal.value)
    assert "is no key of the config" not in str(refusal.value)


def test_a_vote_by_flag_is_over_all_judges_and_named_after_its_rule():
    shown = call("config", "show", *RUN, "-j", "demo-guard", "--vote", "majority", "--vote", "any", "--json")
    assert json.loads(shown.stdout)["votes"] == [
        {"name": "vote-majority", "rule": "majority", "judges": None},
        {"name": "vote-any", "rule": "any", "judges": None},
    ]


def test_flags_win_over_a_file(tmp_path: Path):
    file = tmp_path / "run.yaml"
    keys = {"model": "R1-7B", "datasets": ["strongreject"], "judges": ["refusal-match"], "samples": 5}
    file.write_text(yaml.safe_dump(keys))
    flags = ("-s", "default", "-s", "zerothink", "-k", "3", "--temperature", "0.6")
    shown = call("config", "show", "--config", str(file), *flags, "--json")
    tree = json.loads(shown.stdout)
    assert (tree["model"]["name"], tree["samples"]) == ("R1-7B", 3)
    assert [strategy["name"] for strategy in tree["strategies"]] == ["default", "zerothink"]


def test_a_config_that_is_shown_reads_back_as_itself(tmp_path: Path):
    shown = call("config", "show", *RUN, "--strategy", "zerothink").stdout
    file = tmp_path / "run.yaml"
    file.write_text(shown)
    assert call("config", "show", "--config", str(file)).stdout == shown


def test_the_json_schema_is_printed_as_json():
    assert json.loads(call("config", "schema").stdout) == json_schema()


@pytest.mark.parametrize("kind", ["models", "apis", "datasets", "benchmarks", "judges", "strategies"])
def test_every_kind_is_listed_as_a_table_and_as_json(kind: str):
    listed = json.loads(call("list", kind, "--json").stdout)
    table = call("list", kind)
    assert table.exit_code == 0
    assert listed[0]["name"][:4] in table.stdout


def test_a_plan_is_shown_as_tables_and_as_json(monkeypatch: pytest.MonkeyPatch):
    def plan_run(config: RunConfig) -> Any:
        run, view = resolve(config), ClusterView((Node("laptop", 16, 0, 24),))
        return run, make_plan(pool_needs(run, config.resources, view), view)

    monkeypatch.setattr(pipeline, "plan_run", plan_run)
    assert json.loads(call("plan", *RUN, "--json").stdout)["rows"] == 60
    assert "Plan for demo-reasoner" in call("plan", *RUN).stdout


def test_the_figures_of_a_run_are_printed_again(tmp_path: Path):
    (tmp_path / "metrics.json").write_text(METRICS.model_dump_json())
    assert json.loads(call("report", str(tmp_path), "--json").stdout) == METRICS.model_dump(mode="json")
    for flags in ((), ("--by-category",)):
        printed = call("report", str(tmp_path), *flags)
        assert printed.exit_code == 0
        assert "refusal-match" in printed.stdout


def test_a_report_is_written_where_it_is_asked_for(tmp_path: Path):
    only = setting()
    write_run(tmp_path, [only], [sample(only, 0)])
    assert json.loads(call("report", str(tmp_path), "--html", "--json").stdout) == {"report": f"{tmp_path}/report.html"}
    elsewhere = str(tmp_path / "there.html")
    said = call("report", str(tmp_path), "--html", elsewhere, "--samples-with-text", "0")
    assert said.stdout == f"Report: {elsewhere}\n"
    assert "The texts of 0 of them" in Path(elsewhere).read_text()


@pytest.mark.parametrize(("flags", "written"), [((), True), (("--no-html",), False)])
def test_an_evaluation_ends_with_its_report_unless_disabled(evaluation: Any, flags: tuple[str, ...], written: bool):
    evaluation()
    assert ("report.html" in call("evaluate", *RUN, *flags).stdout) == written


def interrupted(monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    @click.command()
    @output_options
    def command(*, as_json: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["/bin/safechain-ray", *words])
    return CliRunner().invoke(command)


def test_an_interrupted_command_ends_with_130_and_the_command_that_resumes(monkeypatch: pytest.MonkeyPatch):
    result = interrupted(monkeypatch, "evaluate", "--model", "R1-7B", "--dataset", "my prompts.csv")
    assert result.exit_code == 130
    assert result.stderr == (
        "Interrupted. Completed work is saved. To resume, run:\n"
        "  safechain-ray evaluate --model R1-7B --dataset 'my prompts.csv'\n"
    )


def test_secrets_of_a_uri_are_not_repeated(monkeypatch: pytest.MonkeyPatch):
    result = interrupted(monkeypatch, "evaluate", "--output", "s3://KEY:SECRET@bucket/run")
    assert "SECRET" not in result.stderr
    assert "s3://***@bucket/run" in result.stderr


def test_what_libraries_print_is_kept_off_the_terminal(
    evaluation: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    evaluation()
    call("evaluate", *RUN)
    printed = capfd.readouterr()
    assert "Engines are starting." in printed.err
    assert "what Ray prints" not in printed.out + printed.err
    assert list(tmp_path.glob("safechain-ray-*.log")) == []


def test_what_libraries_printed_is_kept_and_named_after_a_failure(
    evaluation: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    evaluation(EngineStartError("CUDA out of memory"))
    call("evaluate", *RUN)
    (log,) = tmp_path.glob("safechain-ray-*.log")
    assert log.read_text() == "what Ray prints\n"
    assert f"What Ray and vLLM printed: {log}" in capfd.readouterr().err


def test_wrong_input_leaves_no_log_behind(tmp_path: Path):
    with pytest.raises(InputError), quiet_libraries():
        raise InputError("wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("-s", "zerothnk"), "Unknown strategy 'zerothnk'. Did you mean 'zerothink'?"),
        (("-j", "demo-gard"), "Unknown judge 'demo-gard'. Did you mean 'demo-guard'?"),
        (("-d", "strongrejct"), "Unknown data set 'strongrejct'. Did you mean 'strongreject'?"),
    ],
)
def test_config_show_refuses_a_name_that_the_catalog_does_not_have(flags: tuple[str, ...], says: str):
    result = call("config", "show", *RUN, *flags)
    assert (result.exit_code, says in result.stderr) == (2, True)


def test_the_flags_of_missing_keys_are_options() -> None:
    options = {name for command in COMMANDS for option in command.params for name in option.opts}
    assert set(FLAGS.values()) <= options


def test_a_vote_over_one_judge_is_refused_with_its_flag() -> None:
    flags = ("--model", "demo-reasoner", "-d", "quickstart", "--judge", "refusal-match", "--vote", "any")
    result = CliRunner().invoke(app, ["evaluate", *flags])
    assert "\n  --vote any needs two judges or more; the run has one (refusal-match): add one, or leave --vote out" in (
        result.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "key", "flag"),
    [
        (("evaluate", "--model", "demo-reasoner"), "datasets", "--dataset"),
        (("evaluate", "--family", "r1"), "model.name", "--model"),
        (("build-dataset", "--model", "demo-reasoner"), "prompts", "--prompts"),
        (("build-dataset", "--number", "3", "--kind-column", "kind"), "prompts.name", "--prompts"),
        (("finetune", "--model", "demo-reasoner"), "training_set", "--training-set"),
    ],
)
def test_a_missing_key_names_its_flag(arguments: tuple[str, ...], key: str, flag: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert f"  {key}: is missing: give it with {flag}, or in a config file\n" in result.stderr
