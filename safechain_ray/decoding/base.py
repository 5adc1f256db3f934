"""Protocol and registry of decoding strategies: their tasks, results, checkpoints, and checks.

A built-in strategy is a module with `Options` and `build`, and a line in `STRATEGIES`. Catalogs of users add others.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from safechain_ray import catalog
from safechain_ray.catalog.entries import Family, StrategyCode
from safechain_ray.decoding.response import ResponseParts as ResponseParts  # strategies import these from here
from safechain_ray.decoding.response import bos_twice as bos_twice
from safechain_ray.decoding.response import split_begun as split_begun
from safechain_ray.decoding.response import split_opening as split_opening
from safechain_ray.decoding.response import split_response as split_response
from safechain_ray.errors import InputError, StrategyOptionsError, UnknownNameError, first_line
from safechain_ray.types import (
    NO_ARGUMENTS,
    Completion,
    CountTokens,
    FinishReason,
    Generate,
    Sampling,
    StrategySpec,
    StrictNumbers,
    ThinkingTags,
    short_hash,
)
from safechain_ray.types.strict_numbers import plain_words

DecodeCheckpoint = Mapping[str, str | int | None]
"""State of an incomplete response, for a strategy of many calls; empty at the start."""

SaveCheckpoint = Callable[[DecodeCheckpoint], None]


def discard_checkpoint(checkpoint: DecodeCheckpoint) -> None:
    """The default of `save_checkpoint`, for a strategy that restarts from the beginning after a fault."""


class HasRounds(Protocol):
    """The state of a strategy of many calls, in its checkpoint."""

    rounds: int


State = TypeVar("State", bound=HasRounds)


def restored_state(checkpoint: DecodeCheckpoint, kind: type[State], most_rounds: int) -> State | None:
    """`checkpoint` as the state that the strategy saved, a dataclass of type `kind`.

    None for an empty checkpoint, and for one of another version or a damaged file: the response is then decoded from
    its start.
    """
    if checkpoint.keys() != {each.name for each in fields(kind)}:  # type: ignore[arg-type]  # a dataclass
        return None
    try:
        state = TypeAdapter(kind).validate_python(dict(checkpoint))
    except ValidationError:
        return None
    return state if state.rounds <= most_rounds else None


NotNegative = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class DecodingTask:
    """One response to decode.

    `prompt` is rendered by the chat template, ready for the assistant's turn; newer R1 templates end it with
    `<think>\\n` already. `seed` is the sample's own, None under greedy decoding. A strategy of many calls passes
    its state to `save_checkpoint` after each call, and resumes from `checkpoint` where an earlier attempt was cut off.
    """

    prompt: str
    tags: ThinkingTags | None
    sampling: Sampling
    seed: int | None
    checkpoint: DecodeCheckpoint = field(default_factory=dict)
    save_checkpoint: SaveCheckpoint = discard_checkpoint

    def call_seed(self, number: int) -> int | None:
        """The seed of the sample's call `number`, from 0: its own for each call, the same after a resume.

        vLLM seeds its generator for every request. With one seed for all calls of a sample, every call draws the same
        random numbers, and the text after an injected phrase repeats the text before it. The first
        call has the sample's own seed.
        """
        if self.seed is None or number == 0:
            return self.seed
        return int(short_hash("call", self.seed, number), 16) % 2**31


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded response.

    `prefill` is what was written for the model at its start, by the template or the strategy; `text` is everything
    after it, generated and injected. `prompt_tokens` are those of the first call (the prefill among them);
    `completion_tokens` are those of `text`, `thought_tokens` those of its thought where the engine reports them.
    `judge_prefill` is False where judges read only the generated text, as in the published code.
    """

    prefill: str
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    forced_rounds: int = 0
    thought_tokens: int | None = None
    judge_prefill: bool = True

    @classmethod
    def of_one_call(cls, prefill: str, completion: Completion, *, judge_prefill: bool = True) -> "Decoded":
        """The response of a strategy that sends one request."""
        return cls(
            prefill=prefill,
            text=completion.text,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            thought_tokens=completion.thought_tokens,
            judge_prefill=judge_prefill,
        )

    @property
    def whole(self) -> str:
        """The model's turn from its first character, prefill included. It is split into thought and answer."""
        return self.prefill + self.text

    @property
    def response(self) -> str:
        """The response that judges read. The published code strips the generated text."""
        return self.whole if self.judge_prefill else self.text.strip()


class StrategyOptions(StrictNumbers):
    """Options of a strategy without options, and the base class of all others."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OneCallOptions(StrategyOptions):
    """Options of the strategies of one call: `default`, `zerothink`, `lessthink`."""

    compat: Literal["none", "paper"] = Field(
        "none", description="`paper` sends and judges what the published code does: BOS twice, no prefill judged"
    )


def required_tags(task: DecodingTask) -> ThinkingTags:
    """The task's tags; `check_strategy` has refused a family without them when the config was read."""
    if task.tags is None:
        raise ValueError("this strategy needs a model family with thinking tags")
    return task.tags


class Strategy(Protocol):
    """A decoding strategy. Raises the errors of `generate`, such as RowError for an invalid request."""

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded: ...


@dataclass(frozen=True, slots=True)
class StrategyEntry:
    """The module of a strategy, or `module:name` of a user's code; and its requirements.

    A strategy of `one_request` per sample needs a context for one prompt and one response. Others send the response
    again, and may fill any context. `switch` names the function of the module that gives the strategy's arguments of
    the chat template, from its options and the family. `not_of_apis` says why a model behind an API can't follow it.
    `example` has the options that have no default. The engine counts the thought's tokens where a strategy
    `bounds_thought`.
    """

    module: str
    description: str
    needs_tags: bool = True
    one_request: bool = False
    build: str = "build"
    options: str = "Options"
    switch: str | None = None
    not_of_apis: str | None = None
    example: Mapping[str, str | int] = field(default_factory=dict)
    bounds_thought: bool = False


NO_THINK = "no-think"

STRATEGIES: Mapping[str, StrategyEntry] = {
    "default": StrategyEntry(
        "one_call", "the thought is not controlled", needs_tags=False, one_request=True, build="build_default"
    ),
    "zerothink": StrategyEntry("one_call", "an empty thought is prefilled", one_request=True, build="build_zerothink"),
    "lessthink": StrategyEntry(
        "one_call", "a thought of one sentence is prefilled", one_request=True, build="build_lessthink"
    ),
    "morethink": StrategyEntry("morethink", "the thought is kept open for up to 10 rounds or 10,000 tokens"),
    NO_THINK: StrategyEntry(
        "model_switch",
        "the model's own switch is off: it does not think",
        needs_tags=False,
        one_request=True,
        switch="no_think",
        not_of_apis="providers have switches of their own. Fix: use strategy 'default' with the provider's switch in "
        "extra_body, or for a server of vLLM in template_kwargs.",
    ),
    "effort": StrategyEntry(
        "model_switch",
        "the model's own level of reasoning effort (option level)",
        needs_tags=False,
        one_request=True,
        options="EffortOptions",
        switch="effort",
        example={"level": "low"},
    ),
    "budget": StrategyEntry(
        "budget",
        "vLLM closes the thought after a number of tokens (option tokens)",
        one_request=True,
        not_of_apis="vLLM's sampler enforces it. Fix: run the model's weights, or for a server of vLLM that has a "
        "--reasoning-parser use strategy 'default' with extra_body {thinking_token_budget: N}.",
        example={"tokens": 100},
        bounds_thought=True,
    ),
    "safepath": StrategyEntry(
        "opened_thought",
        "the thought begins with SafePath's primer (arXiv:2505.14667) and stays open",
        one_request=True,
        build="build_safepath",
    ),
    "thinking-intervention": StrategyEntry(
        "opened_thought",
        "the thought begins with a sentence about safety in the first person (arXiv:2503.24370); the wording is this "
        "project's, as the published one was not verified (option text)",
        one_request=True,
        build="build_intervention",
    ),
}

STYLE_STRATEGIES: Mapping[str, StrategyEntry] = {
    "evalplus": StrategyEntry(
        "evalplus", "the answer begins with an opened code block", needs_tags=False, one_request=True
    ),
}
"""Strategies that belong to a style of a benchmark: the style chooses them, a user does not."""


def strategies() -> Mapping[str, StrategyEntry]:
    """The built-in strategies, and those of users' catalogs."""
    added = catalog.strategies()
    if not added:
        return STRATEGIES
    return {**STRATEGIES, **{name: _entry_of(code) for name, code in added.items()}}


def replaced_strategies() -> Iterator[str]:
    """A sentence for each built-in strategy that a user's catalog replaces; none for a wrong catalog."""
    with suppress(InputError):
        for name in catalog.strategies():
            if name in STRATEGIES:
                place = catalog.origin_of("strategies", name).place
                yield f"strategies.{name} of {place} replaces the strategy of this package."


def _entry_of(code: StrategyCode) -> StrategyEntry:
    return StrategyEntry(code.kind, code.description, code.needs_tags, code.one_request)


def strategy_entry(name: str) -> StrategyEntry:
    """The entry of a strategy. Raises UnknownNameError."""
    entry = STYLE_STRATEGIES.get(name) or strategies().get(name)
    if entry is None:
        raise UnknownNameError("strategy", name, strategies())
    return entry


def strategy(spec: StrategySpec) -> Strategy:
    """The strategy that `spec` names, with its options.

    Raises:
        UnknownNameError: There is no strategy of this name.
        StrategyOptionsError: An option does not exist, or its value is invalid.
    """
    build, options_type = _code_of(spec.name)
    try:
        options = options_type.model_validate(spec.options)
    except ValidationError as error:
        raise StrategyOptionsError(_explain(spec, error, tuple(options_type.model_fields))) from None
    place = catalog.origin_of("strategies", spec.name).place
    try:
        built = build(options)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"Strategy {spec.name!r} ({place}): its code failed: "
            f"{type(error).__name__}: {first_line(error)}. Fix: let it take its options and return a strategy."
        ) from error
    if not inspect.iscoroutinefunction(getattr(built, "decode", None)):
        raise InputError(
            f"Strategy {spec.name!r} ({place}): it has no `async def decode`. Fix: add it, as docs/extending.md shows."
        )
    return built


def _code_of(name: str) -> tuple[Callable[[StrategyOptions], Strategy], type[StrategyOptions]]:
    """What builds a strategy, and the type of its options: that of the class itself or of its module."""
    entry = strategy_entry(name)
    if not catalog.is_code(entry.module):
        module = import_module(f"{__package__}.{entry.module}")
        return getattr(module, entry.build), getattr(module, entry.options)
    build: Any = catalog.code_of("strategies", name, entry.module)
    of_module = getattr(sys.modules[entry.module.partition(":")[0]], "Options", StrategyOptions)
    options = getattr(build, "Options", of_module)
    if not (isinstance(options, type) and issubclass(options, StrategyOptions)):
        raise InputError(
            f"Strategy {name!r} ({catalog.origin_of('strategies', name).place}): Options of {entry.module} is no "
            "StrategyOptions. Fix: derive it from safechain_ray.decoding.base.StrategyOptions."
        )
    return build, options


def bounds_thought(spec: StrategySpec) -> bool:
    """Whether the engine has to count the tokens of a thought."""
    return strategy_entry(spec.name).bounds_thought


def template_arguments(
    spec: StrategySpec, family: Family, model: Mapping[str, Any] = NO_ARGUMENTS, *, of_api: bool = False
) -> dict[str, Any]:
    """Arguments of the chat template in a setting: the family's, the model's, the strategy's switch, the setting's own.

    Later ones win. Raises InputError for a strategy whose switch models of `family` do not have.
    """
    entry = strategy_entry(spec.name)
    switch: dict[str, Any] = {}
    if entry.switch is not None:
        module = import_module(f"{__package__}.{entry.module}")
        switch = getattr(module, entry.switch)(spec, family, of_api)
    return {**family.template_kwargs, **model, **switch, **spec.template_kwargs}


def request_body(spec: StrategySpec, family: Family) -> dict[str, Any]:
    """Keys of an API's request in a setting: `reasoning_effort` is one itself, other arguments are the template's."""
    arguments = template_arguments(spec, family, of_api=True)
    effort = {key: arguments.pop(key) for key in ("reasoning_effort",) if key in arguments}
    return {**effort, **({"chat_template_kwargs": arguments} if arguments else {}), **spec.extra_body}


def check_strategy(spec: StrategySpec, family: Family, takes_prefill: bool = True) -> None:
    """Raise InputError for a strategy that models of `family` can't follow, before anything loads.

    `takes_prefill` is False for an API without prefill.
    """
    known = strategies()
    if spec.name not in known:
        raise UnknownNameError("strategy", spec.name, known)
    strategy(spec)
    entry = known[spec.name]
    if spec.extra_body and takes_prefill:
        raise InputError(
            f"Strategy {spec.name!r}: extra_body has keys of a request to an API, and this model is run here. Fix: use "
            "template_kwargs for arguments of its chat template."
        )
    if entry.not_of_apis is not None and not takes_prefill:
        raise InputError(f"Strategy {spec.name!r} can't be used with a model behind an API: {entry.not_of_apis}")
    template_arguments(spec, family, of_api=not takes_prefill)
    if entry.needs_tags and not takes_prefill:
        raise InputError(
            f"Strategy {spec.name!r} prefills part of the response, and an API takes whole turns only. Fix: use "
            "strategy 'default' for this model, or run its weights if they are published."
        )
    if family.tags is not None or not entry.needs_tags:
        return
    with_tags = {name for name, each in catalog.families().items() if each.tags is not None}
    able = [model.name for model in catalog.models().values() if model.family in with_tags]
    raise InputError(
        f"Strategy {spec.name!r} controls the text between thinking tags, and models of family {family.name!r} write "
        f"none. Fix: use strategy 'default', or one of the models that can: {', '.join(able)}."
    )


def _explain(spec: StrategySpec, error: ValidationError, known: tuple[str, ...]) -> str:
    problems = "; ".join(
        f"no option {fault['loc'][0]!r}"
        if fault["type"] == "extra_forbidden"
        else f"option {fault['loc'][0]!r} is missing"
        if fault["type"] == "missing"
        else f"option {fault['loc'][0]!r}: {plain_words(fault)}, not {fault['input']!r}"
        for fault in error.errors()
    )
    return f"Strategy {spec.name!r}: {problems}. Fix: correct its options (known: {', '.join(known) or 'none'})."
