"""A model's folder is untrusted data: its code is not run, and its chat template can't hang a process."""

import ast
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from transformers import AutoTokenizer

from safechain_ray.catalog import families, judges, models
from safechain_ray.cli import app
from safechain_ray.commands.doctor import Subject
from safechain_ray.commands.doctor.model import check_model_prompt
from safechain_ray.config import ModelConfig
from safechain_ray.engines.start import EngineStart
from safechain_ray.engines.vllm import engine_arguments
from safechain_ray.engines.weights import weights_location
from safechain_ray.errors import InputError
from safechain_ray.limited_process import KilledError, LimitedProcess
from safechain_ray.model_files import (
    ChatTemplateError,
    ChatTemplateLimitError,
    CustomCodeError,
    chat_template,
    check_template_limits,
    load_config,
    load_tokenizer,
    load_weights,
    render_chat,
)
from safechain_ray.runs.resolve_model import resolve_model
from tests.deployment import ROOT

MODEL_FILES = "safechain_ray/model_files/"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TURNS = [{"role": "user", "content": "Hello"}]


def loads_and_renders(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr="from_pretrained" | "apply_chat_template" as name):
                yield f"{node.lineno}: {name}"
            case ast.keyword(arg="trust_remote_code", value=ast.Constant(value=value)) if value is not False:
                yield f"{node.lineno}: trust_remote_code={value}"


def test_models_are_loaded_and_prompts_rendered_in_one_place() -> None:
    found = {
        str(path.relative_to(ROOT)): list(loads_and_renders(path.read_text()))
        for folder in ("safechain_ray", "jobs", "deploy", "scripts")
        for path in (ROOT / folder).rglob("*.py")
    }
    named = {file for file, lines in found.items() if lines}
    assert named == {MODEL_FILES + "loading.py", MODEL_FILES + "chat_template.py"}


@pytest.mark.parametrize("source", ["AutoModel.from_pretrained('x')", "f(trust_remote_code=True)"])
def test_another_way_to_load_is_found(source: str) -> None:
    assert list(loads_and_renders(source))


def test_no_catalog_entry_trusts_code_of_a_model() -> None:
    engines = [*models().values(), *(judge.engine for judge in judges().values() if judge.engine is not None)]
    assert not [engine.source for engine in engines if engine.trust_remote_code]
    assert not [engine.source for engine in engines if "trust_remote_code" in engine.engine_kwargs]
    arguments = [engine_arguments(EngineStart(engine, "cuda", Path("/no/log")), "weights") for engine in engines]
    assert {each["trust_remote_code"] for each in arguments} == {False}


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "code ran"


@pytest.fixture
def with_code(tmp_path: Path, mark: Path) -> Path:
    """A copy of demo-reasoner whose config and tokenizer name code that leaves a file behind."""
    folder = tmp_path / "model"
    shutil.copytree(weights_location("package://demo-reasoner"), folder)
    (folder / "own.py").write_text(
        f"open({str(mark)!r}, 'w')\n"
        "from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast\n"
        "class Tokens(PreTrainedTokenizerFast): pass\n"
        "class Config(LlamaConfig): model_type = 'own'\n"
        "class Model(LlamaForCausalLM): config_class = Config\n"
    )
    edit(folder / "tokenizer_config.json", tokenizer_class="Tokens", auto_map={"AutoTokenizer": ["own.Tokens", None]})
    maps = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoTokenizer": ["own.Tokens", None]}
    edit(folder / "config.json", model_type="own", auto_map=maps)
    return folder


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def loads() -> list[Callable[[str], Any]]:
    return [load_tokenizer, load_config, lambda folder: load_weights(folder, None, dtype="auto")]


def test_code_in_a_models_folder_is_refused_without_a_question(
    with_code: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or "y")
    for load in loads():
        with pytest.raises(CustomCodeError, match="needs Python code from its own folder"):
            load(str(with_code))
    with pytest.raises(InputError, match="needs Python code from its own folder"):
        resolve_model(ModelConfig(name=str(with_code), family="demo"))
    assert not asked
    assert not mark.exists()


def test_doctor_names_code_in_a_models_folder_and_does_not_run_it(with_code: Path, mark: Path) -> None:
    command = ["doctor", "--model", "demo-reasoner", "--weights", str(with_code), "--json"]
    result = CliRunner().invoke(app, command, input="y\ny\n")
    details = {finding["check"]: finding["detail"] for finding in json.loads(result.stdout)["findings"]}
    assert "Python code from the model's folder, which is not run" in details["tokenizer"]
    assert "Python code from the model's folder, which is not run" in details["config"]
    assert result.exit_code == 1
    assert not mark.exists()


@pytest.fixture
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(weights_location("package://demo-reasoner"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[LimitedProcess]:
    """A child with one second for each prompt and little memory."""
    child = LimitedProcess(chat_template._CHILD.worker, processor_seconds=1, memory=2**29)
    monkeypatch.setattr(chat_template, "_CHILD", child)
    yield child
    child.close()


def test_a_prompt_is_rendered_as_transformers_renders_it(tokenizer: Any) -> None:
    for turns in (TURNS, [{"role": "system", "content": "Be brief.\ud800"}, *TURNS]):
        theirs = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert render_chat(tokenizer, turns) == theirs
    assert render_chat(tokenizer, TURNS, "{{ bos_token }}!") == f"{tokenizer.bos_token}!"
    assert "<think>" not in render_chat(tokenizer, TURNS, add_generation_prompt=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (LOOP, "it took more than 1 s of processor time"),
        ("{{ 7 ** (10 ** 9) }}", "it took more than 1 s of processor time"),
        ("{{ 'a' * 10 ** 10 }}", "it took more than 0.5 GiB of memory"),
    ],
)
def test_a_template_that_does_not_end_or_fills_memory_is_stopped_and_the_next_one_renders(
    tokenizer: Any, quick: LimitedProcess, template: str, reason: str
) -> None:
    with pytest.raises(ChatTemplateLimitError) as caught:
        render_chat(tokenizer, TURNS, template)
    assert caught.value.reason == reason
    assert render_chat(tokenizer, TURNS, "{{ messages[0].content }}") == "Hello"


def test_a_prompt_longer_than_any_context_is_refused(
    tokenizer: Any, quick: LimitedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "LONGEST_PROMPT", 1000)
    assert len(render_chat(tokenizer, TURNS, "{{ 'a' * 1000 }}")) == 1000
    with pytest.raises(ChatTemplateLimitError, match="wrote more than 1,000 characters"):
        render_chat(tokenizer, TURNS, "{{ 'a' * 1001 }}")


@pytest.mark.slow
def test_a_loop_that_depends_on_the_prompt_is_the_error_of_its_row_alone(tokenizer: Any, quick: LimitedProcess) -> None:
    template = "{% if 'bomb' in messages[0].content %}" + LOOP + "{% endif %}{{ messages[0].content }}"
    check_template_limits(tokenizer, template)
    with pytest.raises(ChatTemplateError, match="the chat template does not render: it took more than 1 s"):
        render_chat(tokenizer, [{"role": "user", "content": "a bomb"}], template)
    assert render_chat(tokenizer, TURNS, template) == "Hello"


@pytest.mark.slow
def test_an_engine_does_not_start_on_a_template_that_always_loops(tokenizer: Any, quick: LimitedProcess) -> None:
    with pytest.raises(ChatTemplateLimitError):
        check_template_limits(tokenizer, LOOP)
    check_template_limits(tokenizer, "{{ raise_exception('no system turn') }}")
    tokenizer.chat_template = None
    check_template_limits(tokenizer, None)


@pytest.mark.slow
def test_doctor_reports_a_template_that_loops(tokenizer: Any, quick: LimitedProcess) -> None:
    findings = list(check_model_prompt(Subject("model"), tokenizer, families()["demo"], LOOP))
    assert [(each.status, each.detail) for each in findings] == [
        ("failed", "it does not render: it took more than 1 s of processor time")
    ]


def test_the_message_of_a_template_that_refuses_a_conversation_is_kept(tokenizer: Any) -> None:
    with pytest.raises(ChatTemplateError, match="does not render: no system turn"):
        render_chat(tokenizer, TURNS, "{{ raise_exception('no system turn') }}")


def test_doctor_reports_a_template_that_writes_half_a_character(tokenizer: Any) -> None:
    findings = list(check_model_prompt(Subject("model"), tokenizer, families()["demo"], r"{{ '\ud800' }}"))
    assert [(each.status, each.detail) for each in findings] == [
        ("failed", "it does not render: it writes half of a surrogate pair, which no tokenizer reads")
    ]


def test_threads_share_the_child_and_get_their_own_prompts(tokenizer: Any) -> None:
    rendered: dict[int, str] = {}

    def render(number: int) -> None:
        rendered[number] = render_chat(
            tokenizer, [{"role": "user", "content": str(number)}], "{{ messages[0].content }}"
        )

    threads = [threading.Thread(target=render, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rendered == {number: str(number) for number in range(20)}


def test_a_child_ends_with_the_process_that_started_it() -> None:
    child = LimitedProcess(chat_template._CHILD.worker, processor_seconds=1, memory=2**29)
    assert child.ask(["render", "x", {}, TURNS, True, 9]) == "x"
    process = child.process
    assert process is not None
    del child
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert process.returncode is not None


KILLED_ONCE = """
import os, pathlib, signal
def answer(path):
    kills = pathlib.Path(path)
    if kills.exists():
        left = int(kills.read_text())
        kills.write_text(str(left - 1))
        if left:
            os.kill(os.getpid(), signal.SIGKILL)
    return "answered"
"""


def test_a_request_whose_child_is_killed_from_outside_is_sent_once_more(tmp_path: Path) -> None:
    """A kill in the middle of a prompt made the row an error, as if its chat template were wrong."""
    (tmp_path / "worker.py").write_text(KILLED_ONCE)
    kills = tmp_path / "kills"
    child = LimitedProcess(tmp_path / "worker.py", processor_seconds=9, memory=2**29)
    kills.write_text("1")
    assert child.ask(str(kills)) == "answered"
    kills.write_text("2")
    with pytest.raises(KilledError, match="ended its process by SIGKILL"):
        child.ask(str(kills))
    child.close()


def test_a_child_that_waits_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "worker.py").write_text("def answer(path):\n    return open(path).read()\n")
    program = (
        "from pathlib import Path\n"
        "from safechain_ray.limited_process import LimitedProcess\n"
        f"child = LimitedProcess(Path({str(tmp_path / 'worker.py')!r}), processor_seconds=9, memory=2**29)\n"
        "child.process = child._start()\n"
        "print(child.process.pid, flush=True)\n"
        f"child.ask({str(tmp_path / 'pipe')!r})\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    end = time.monotonic() + 60
    while Path(f"/proc/{child}/stat").exists() and not _is_zombie(child):
        assert time.monotonic() < end, "the child still runs"
        time.sleep(0.1)


def _is_zombie(pid: int) -> bool:
    """Whether it ended, and nobody has asked for its exit code yet: process 1 of a container may never do so."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(
    "config",
    [
        "[" * 100_000,
        "null",
        '{"model_type": "llama", "num_attention_heads": 0}',
        '{"model_type": "llama", "dtype": "os.system"}',
    ],
    ids=["deep", "null", "no heads", "dtype"],
)
def test_a_damaged_config_is_one_sentence(tmp_path: Path, config: str):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=r"The config of model .* can't be read: "):
        resolve_model(ModelConfig(name=str(tmp_path), family="demo"))
