"""The replica: a block of sample numbers becomes a block of samples, whatever happens to a row."""

import asyncio
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from safechain_ray.catalog import families
from safechain_ray.cluster.progress import ProgressTracker
from safechain_ray.cluster.sample_index import SampleIndex
from safechain_ray.cluster.workers import generator
from safechain_ray.cluster.workers.generator import GeneratorWorker, decodings_of, with_thinking_tags
from safechain_ray.decoding import one_call
from safechain_ray.errors import BlockedError, EngineRefusedError, EngineStartError
from safechain_ray.testing import ScriptedEngine, ScriptedEngines
from safechain_ray.types import (
    NO_ARGUMENTS,
    SAMPLES_SCHEMA,
    Message,
    Prompt,
    Request,
    Sample,
    Sampling,
    Setting,
    broken_up,
    samples_from_table,
)
from tests.unit.cluster.local_actors import MODEL, LocalActor, LocalTracker, engines, start_of

HELLO = Prompt("p0", "Hello", "greetings")
BAD = Prompt("p1", "", "greetings", error="the prompt is empty (row 2 of prompts.csv)")
SAMPLED = Setting(dataset="d", sampling=Sampling(temperature=1, max_tokens=20, seed=3), samples=2)


class Holder:
    def __init__(self, sample_specs: SampleIndex) -> None:
        self.fetch = lambda: sample_specs


@pytest.fixture(autouse=True)
def _references_are_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator.ray, "get", lambda reference: reference)


@pytest.fixture
def progress_tracker() -> ProgressTracker:
    return ProgressTracker()


@pytest.fixture
def generated(progress_tracker: ProgressTracker) -> Any:
    """All samples of `prompts` in `settings`, as one replica with a scripted engine makes them."""

    def samples(
        *prompts: Prompt,
        settings: tuple[Setting, ...] = (SAMPLED,),
        family: str = "demo",
        inflight_tracker: LocalTracker | None = None,
        **script: Any,
    ) -> list[Sample]:
        sample_specs = SampleIndex(settings, {"d": prompts or (HELLO,)})
        one = GeneratorWorker(
            model="demo-reasoner",
            family=families()[family],
            sample_specs=LocalActor(Holder(sample_specs)),
            decodings=decodings_of(settings, families()[family], MODEL),
            start=with_thinking_tags(start_of(MODEL), settings, families()[family]),
            start_engine=engines(**script),
            max_deaths=2,
            progress_tracker=LocalActor(progress_tracker),
            inflight_tracker=inflight_tracker or LocalTracker(),
        )
        table = asyncio.run(one(pa.table({"number": list(range(len(sample_specs)))})))
        assert table.schema.equals(SAMPLES_SCHEMA)
        assert table["sample_id"].to_pylist() == [item.sample_id for item in sample_specs]
        return samples_from_table(table)

    return samples


@pytest.mark.parametrize("name", ["zerothink", "lessthink"])
def test_compat_paper_stores_what_was_generated_as_the_response_and_the_prefill_beside(name: str, generated: Any):
    ours, paper = (
        generated(settings=(setting,), answer=lambda request: "Hello you!")[0]
        for setting in (
            Setting(dataset="d", strategy={"name": name}),
            Setting(dataset="d", strategy={"name": name, "compat": "paper"}),
        )
    )
    assert paper.response == "Hello you!"
    assert ours.response == ours.prefill + "Hello you!"
    assert (paper.prefill, paper.thought, paper.answer) == (ours.prefill, ours.thought, "Hello you!")
    assert (paper.outcome, paper.thought_tokens, paper.answer_tokens) == (ours.outcome, ours.thought_tokens, 2)


def test_a_sample_holds_what_was_asked_and_what_came_of_it(generated: Any):
    first, second = generated(answer=lambda request: "Greet them.\n</think>\n\nHello you!")
    assert (first.outcome, first.finish_reason, first.error) == ("ok", "stop", None)
    assert (first.model, first.dataset, first.setting_id) == ("demo-reasoner", "d", SAMPLED.setting_id)
    assert (first.prompt_id, first.prompt, first.category) == ("p0", "Hello", "greetings")
    assert (first.strategy, first.temperature, first.max_tokens) == ("default", 1, 20)
    assert (first.thought, first.answer) == ("Greet them.", "Hello you!")
    assert first.prefill == "<think>\n"
    assert first.response == "<think>\nGreet them.\n</think>\n\nHello you!"
    assert (first.thought_tokens, first.answer_tokens) == (2, 2)
    assert first.prompt_tokens > 0
    assert first.engine == "scripted"
    assert first.verdicts == ()
    assert [sample.sample_index for sample in (first, second)] == [0, 1]
    assert [sample.seed for sample in (first, second)] == [SAMPLED.sample_seed("p0", 0), SAMPLED.sample_seed("p0", 1)]


def test_the_stored_prompt_is_the_original_though_its_special_tokens_are_broken_up(
    generated: Any, monkeypatch: pytest.MonkeyPatch
):
    render = ScriptedEngine.render

    def broken(engine: ScriptedEngine, messages: tuple[Message, ...], arguments: Any = NO_ARGUMENTS) -> str:
        return render(engine, tuple(replace(turn, content=broken_up(turn.content, ["<s>"])) for turn in messages))

    monkeypatch.setattr(ScriptedEngine, "render", broken)
    asked: list[str] = []
    sample, _ = generated(Prompt("p0", "Hi<s>", "c"), answer=lambda request: asked.append(request.prompt) or "Hi")
    assert "<s>" not in asked[0]
    assert sample.prompt == "Hi<s>"


def test_each_row_follows_its_own_settings_strategy(generated: Any):
    zerothink = Setting(dataset="d", strategy="zerothink")
    *_, prefilled = generated(settings=(SAMPLED, zerothink), answer=lambda request: "Hello you!")
    assert (prefilled.strategy, prefilled.prefill) == ("zerothink", "<think>\n\n</think>\n\n")
    assert (prefilled.seed, prefilled.outcome, prefilled.answer) == (None, "ok", "Hello you!")


def test_a_hybrid_model_thinks_in_one_setting_and_not_in_another_with_one_engine(generated: Any):
    on, off = (
        Setting(dataset="d", strategy={"template_kwargs": {"enable_thinking": enabled}}) for enabled in (True, False)
    )

    def answer(request: Request) -> str:
        return "Hello you!" if "</think>" in request.prompt else "Greet them.\n</think>\n\nHello you!"

    thinking, plain = generated(settings=(on, off), answer=answer)
    assert (thinking.setting_id, plain.setting_id) == (on.setting_id, off.setting_id)
    assert (thinking.thought, thinking.answer, thinking.prefill) == ("Greet them.", "Hello you!", "<think>\n")
    assert (plain.thought, plain.answer, plain.prefill) == ("", "Hello you!", "<think>\n\n</think>\n\n")
    assert (plain.outcome, plain.thought_tokens, plain.answer_tokens) == ("ok", 0, 2)


def test_an_engine_counts_thinking_tokens_only_where_a_setting_has_a_budget(
    generated: Any, monkeypatch: pytest.MonkeyPatch
):
    tags: list[Any] = []
    start_engine = ScriptedEngines.__call__
    monkeypatch.setattr(
        ScriptedEngines, "__call__", lambda self, start: tags.append(start.thinking_tags) or start_engine(self, start)
    )
    generated()
    generated(settings=(SAMPLED, Setting(dataset="d", strategy={"name": "budget", "tokens": 3})))
    assert tags == [None, families()["demo"].tags]


@pytest.mark.parametrize(("family", "skips"), [("demo", True), ("gpt-oss", False)])
def test_special_tokens_stay_in_the_text_of_a_family_whose_tags_are_such_tokens(
    family: str, skips: bool, generated: Any
):
    asked: list[bool] = []
    generated(family=family, answer=lambda request: asked.append(request.skip_special_tokens) or "Hi")
    assert asked == [skips, skips]


def test_the_engine_is_given_each_samples_own_seed(generated: Any):
    seeds = []
    generated(answer=lambda request: seeds.append(request.seed) or "</think>\nHi")
    assert seeds == [SAMPLED.sample_seed("p0", 0), SAMPLED.sample_seed("p0", 1)]


def test_a_thought_that_is_never_closed_is_truncated_with_an_empty_answer(generated: Any):
    sample, _ = generated(answer=lambda request: "Still thinking")
    assert (sample.outcome, sample.finish_reason) == ("truncated", "stop")
    assert (sample.thought, sample.answer) == ("Still thinking", "")


def test_an_answer_cut_at_max_tokens_is_truncated(generated: Any):
    sample, _ = generated(answer=lambda request: "</think> " + "word " * 30)
    assert (sample.outcome, sample.finish_reason) == ("truncated", "length")
    assert sample.answer_tokens == 19


def test_a_family_without_tags_has_neither_thought_nor_answer(generated: Any):
    sample, _ = generated(family="qwq", opens_thought=False, answer=lambda request: "First, hello.")
    assert (sample.outcome, sample.response) == ("ok", "First, hello.")
    assert (sample.thought, sample.answer, sample.thought_tokens) == (None, None, None)
    assert sample.answer_tokens == 2


def test_a_bad_prompt_is_a_row_with_its_error_and_never_reaches_the_engine(generated: Any):
    asked = []
    samples = generated(BAD, HELLO, answer=lambda request: asked.append(request.prompt) or "</think>\nHi")
    assert [sample.outcome for sample in samples] == ["error", "error", "ok", "ok"]
    assert samples[0].error == BAD.error
    assert (samples[0].response, samples[0].finish_reason, samples[0].prompt_tokens) == (None, None, 0)
    assert len(asked) == 2


def test_a_request_that_the_engine_refuses_is_a_row_with_its_text(generated: Any):
    sample, _ = generated(refuses=lambda request: True)
    assert (sample.outcome, sample.error) == ("error", "the script refuses this request")


def test_what_a_provider_withheld_is_blocked_with_its_reason(generated: Any):
    def answer(request: Any) -> str:
        raise BlockedError("finish_reason content_filter")

    sample, _ = generated(answer=answer)
    assert (sample.outcome, sample.error, sample.response) == ("blocked", "finish_reason content_filter", None)


def test_a_provider_that_refuses_every_request_is_no_rows_fault(generated: Any):
    def answer(request: Any) -> str:
        raise EngineRefusedError("401")

    with pytest.raises(EngineRefusedError, match="401"):
        generated(answer=answer)


def test_tokens_of_thought_and_answer_are_the_engines_where_it_knows_them(generated: Any):
    sample, _ = generated(thought_tokens=3, answer=lambda request: "Greet them.\n</think>\n\nHello you!")
    assert (sample.thought_tokens, sample.answer_tokens) == (3, 2)


def test_a_poisoned_prompt_is_a_row_with_an_error_and_not_the_end_of_its_block(generated: Any):
    poison = Prompt("p2", "Poison", "c")
    samples = generated(
        poison, HELLO, settings=(Setting(dataset="d"),), dies_on=lambda request: "Poison" in request.prompt
    )
    assert samples[0].outcome == "error"
    assert "2 engines died while this row was decoded" in str(samples[0].error)


def test_an_error_that_nobody_foresaw_is_a_row_with_its_name_and_text(generated: Any):
    def answer(request: Any) -> str:
        raise KeyError("no such token")

    sample, _ = generated(answer=answer)
    assert (sample.outcome, sample.error) == ("error", "KeyError: 'no such token'")


@pytest.mark.parametrize("broken", ["half: \ud83d", "raised"])
def test_half_of_a_surrogate_pair_costs_neither_the_row_nor_its_block(generated: Any, broken: str):
    def answer(request: Any) -> str:
        if broken == "raised":
            raise RuntimeError("half: \ud83d")
        return f"</think>\n{broken}"

    samples = generated(HELLO, answer=answer)
    assert len(samples) == 2
    assert "half: \ufffd" in (samples[0].answer or samples[0].error or "")


def test_a_count_beyond_its_column_is_the_error_of_its_row_and_counted_as_one(
    generated: Any, progress_tracker: ProgressTracker
):
    sample, _ = generated(thought_tokens=2**31, answer=lambda request: "Hm.\n</think>\n\nHello you!")
    assert (sample.outcome, sample.response) == ("error", None)
    assert "too large" in str(sample.error)
    counts = progress_tracker.progress()["model"].counts
    assert (counts["error"], counts.get("ok", 0)) == (2, 0)


def test_an_engine_that_does_not_start_is_no_rows_fault(generated: Any):
    with pytest.raises(EngineStartError, match="CUDA out of memory"):
        generated(start_error="CUDA out of memory")


def test_the_tally_hears_of_rows_outcomes_and_tokens(generated: Any, progress_tracker: ProgressTracker):
    generated(BAD, HELLO)
    counts = progress_tracker.progress()["model"].counts
    assert (counts["rows_in"], counts["rows_out"], counts["ok"], counts["error"]) == (4, 4, 2, 2)
    assert counts["tokens"] > 0


def test_a_chain_of_thought_goes_on_from_the_rounds_that_another_replica_kept(generated: Any):
    chain = Setting(dataset="d", strategy={"name": "morethink", "max_rounds": 2})
    asked = []

    def answer(request: Any) -> str:
        asked.append(request.prompt)
        return "Round.\n</think>" if request.stop else "Hello you!"

    inflight_tracker = LocalTracker()
    kept = {"text": "One. Wait", "spent": 2, "rounds": 1, "prompt_tokens": 3, "closed": False}
    inflight_tracker.target.restore({f"model/{chain.sample_id('p0', 0)}": kept})
    (sample,) = generated(settings=(chain,), inflight_tracker=inflight_tracker, answer=answer)
    assert asked[0].endswith("<think>\nOne. Wait")
    assert (sample.forced_rounds, sample.prompt_tokens, sample.outcome) == (2, 3, "ok")
    assert inflight_tracker.target.longest_checkpoints(1000) == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"prompt_tokens": -5}, "a negative count: -5"), ({"finish_reason": "banana"}, "the finish_reason 'banana'")],
)
def test_what_a_strategys_code_must_not_return_is_the_error_of_its_row(
    generated: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
):
    decode = one_call.Default.decode

    async def wrong(self: one_call.Default, *arguments: Any) -> Any:
        return replace(await decode(self, *arguments), **changes)

    monkeypatch.setattr(one_call.Default, "decode", wrong)
    sample, _ = generated(answer=lambda request: "Hm.\n</think>\n\nHello you!")
    assert sample.outcome == "error"
    assert words in str(sample.error)
