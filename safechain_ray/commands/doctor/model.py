"""Checks of a model itself: its sizes against catalog and GPU memory; and its prompt.

A prompt is checked for its chat template, BOS, system prompt, thinking tags and prefills.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, Literal

from safechain_ray import catalog
from safechain_ray.catalog.entries import EngineNeeds, Family, MessageContent, ModelEntry
from safechain_ray.catalog.parallelism import Attention
from safechain_ray.cluster.gpu_fit import KINDS_OF_GPUS, MODEL_CONTEXTS, Gpus, fit_engine, fit_sentence
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.doctor.thinking import check_switches
from safechain_ray.decoding.base import DecodingTask, strategies, strategy, template_arguments
from safechain_ray.engines.gpus import GpuReport, gpus_of_this_process, smallest_memory
from safechain_ray.errors import InputError, PlanError, StrategyOptionsError, first_line
from safechain_ray.model_files import ChatTemplateError, arguments_read, render_chat, template_turns
from safechain_ray.types import NO_ARGUMENTS, Completion, Message, Request, Sampling, StrategySpec, ThinkingTags
from safechain_ray.types.thinking import well_formed

PROBE = "Which 7 rivers reach the sea at Wismar?"
"""The request that is rendered by the template. It occurs in no template and no system prompt."""

OTHER_TEMPLATE = "give a tokenizer with the model's own chat template, or the catalog entry a `chat_template`"


def render(
    tokenizer: Any,
    turns: tuple[Message, ...],
    chat_template: str | None,
    arguments: Mapping[str, Any] = NO_ARGUMENTS,
    message_content: MessageContent = "text",
) -> str:
    """The conversation as the engine renders it. Raises the errors of `render_chat`."""
    prompt = render_chat(tokenizer, template_turns(turns, message_content), chat_template, arguments=arguments)
    if well_formed(prompt) != prompt:
        raise ChatTemplateError("it writes half of a surrogate pair, which no tokenizer reads")
    return prompt


def check_model_prompt(
    subject: Subject,
    tokenizer: Any,
    family: Family,
    chat_template: str | None,
    template_kwargs: Mapping[str, Any] = NO_ARGUMENTS,
    message_content: MessageContent = "text",
) -> Iterator[Finding]:
    """All checks of a model's prompt. If its template does not render, the later checks are skipped.

    `template_kwargs` are the model's own arguments of its template.
    """

    def prompt_with(arguments: Mapping[str, Any]) -> str:
        return render(tokenizer, family.conversation(PROBE), chat_template, arguments, message_content)

    try:
        own = template_arguments(StrategySpec(), family, template_kwargs)
        prompt = prompt_with(own)
    except Exception as error:  # a template is foreign code, and may raise anything
        yield template_failure(subject, tokenizer, chat_template, error)
        return
    yield check_rendering(subject, prompt)
    if given := [*own, *(family.no_think or ()), *(("reasoning_effort",) if family.efforts else ())]:
        yield check_arguments(subject, tuple(dict.fromkeys(given)), arguments_read(tokenizer, chat_template))
    yield check_bos(subject, tokenizer, prompt)
    yield check_system_prompt(subject, family, prompt)
    if family.tags is None:
        yield subject.ok("thinking tags", f"family {family.name} writes none: the whole response is judged")
    else:
        yield check_tags(subject, tokenizer, family.tags, family.skip_special_tokens, family.tags_are_text)
    yield from check_switches(subject, family, prompt_with, template_kwargs)
    for spec in strategies_of(family):
        rendered = prompt_with(template_arguments(spec, family, template_kwargs))
        yield check_strategy_prompt(subject, tokenizer, spec, rendered, family.tags)


def check_prompt_of(subject: Subject, tokenizer: Any, family: Family, model: ModelEntry) -> Iterator[Finding]:
    """`check_model_prompt` with the template, arguments and form of messages of a catalog entry."""
    return check_model_prompt(
        subject, tokenizer, family, model.chat_template, model.template_kwargs, model.message_content
    )


def strategies_of(family: Family) -> Iterator[StrategySpec]:
    """The strategies that models of the family can follow, one of each."""
    for name, entry in strategies().items():
        spec = StrategySpec(name=name, options=entry.example)
        if family.tags is None and entry.needs_tags:
            continue
        with suppress(InputError):  # a switch that the family does not have
            template_arguments(spec, family)
            yield spec


def check_arguments(subject: Subject, given: Sequence[str], read: frozenset[str] | None) -> Finding:
    """Whether the chat template reads each argument that it is given: it ignores a misspelt one without an error."""
    check = "template arguments"
    if read is None:
        return subject.not_checked(check, "this tokenizer writes prompts without a template")
    if unread := [name for name in given if name not in read]:
        return subject.failed(
            check,
            f"the chat template never reads {', '.join(unread)}",
            "correct template_kwargs of the model or its strategy, or the model's family",
        )
    return subject.ok(check, f"the chat template reads {', '.join(given)}")


def template_failure(subject: Subject, tokenizer: Any, chat_template: str | None, error: Exception) -> Finding:
    if chat_template is None and tokenizer.chat_template is None:
        return subject.failed("chat template", "the tokenizer has none", OTHER_TEMPLATE)
    text = error.reason if isinstance(error, ChatTemplateError) else first_line(error)
    return subject.failed("chat template", f"it does not render: {text}", OTHER_TEMPLATE)


def check_rendering(subject: Subject, prompt: str) -> Finding:
    """The request occurs in the prompt once, followed by the opening of the assistant's turn."""
    times = prompt.count(PROBE)
    if times != 1:
        return subject.failed("chat template", f"the request appears {times} times in the prompt", OTHER_TEMPLATE)
    if not _assistant_part(prompt).strip():
        return subject.warning(
            "chat template",
            "nothing after the request opens the assistant's turn",
            "check that the template uses add_generation_prompt",
        )
    return subject.ok("chat template", "renders, and opens the assistant's turn")


def check_bos(
    subject: Subject, tokenizer: Any, prompt: str, writer: Literal["template", "request"] = "template"
) -> Finding:
    """The beginning-of-sequence token first: the engine adds none, the template or a raw request has to write it.

    Seed-OSS begins each turn with it, after the token that ends the turn before. Anywhere else a second one is wrong.
    """
    bos = tokenizer.bos_token_id
    added = tokenizer(PROBE).input_ids[:1] == [bos]
    if bos is None or not (added or tokenizer.bos_token in prompt):
        return subject.ok("BOS", "this tokenizer starts no text with it")
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    times = ids.count(bos)
    name = "bos_token" if writer == "template" else tokenizer.bos_token
    begin = f"begin the {writer} with {name}"
    if times == 0:
        return subject.failed("BOS", f"the {writer} writes none ({tokenizer.bos_token} is missing)", begin)
    later = [before for before, token in pairwise(ids) if token == bos]
    if ids[0] == bos and later and all(token == tokenizer.eos_token_id for token in later):
        return subject.ok("BOS", "first, and again after the end of a turn")
    if times > 1:
        return subject.failed(
            "BOS", f"{tokenizer.bos_token} appears in the prompt {times} times", f"write {name} once in the {writer}"
        )
    if ids[0] == bos:
        return subject.ok("BOS", "once, first")
    if prompt.partition(tokenizer.bos_token)[0].isspace():
        return subject.warning(
            "BOS",
            f"the {writer} writes white space before {tokenizer.bos_token}",
            f"{begin}, unless the model is published with this {writer}",
        )
    return subject.failed("BOS", f"{tokenizer.bos_token} is not first", begin)


def check_system_prompt(subject: Subject, family: Family, prompt: str) -> Finding:
    if family.system_prompt is None:
        return subject.ok("system prompt", f"family {family.name} has none")
    if family.system_prompt in prompt:
        return subject.ok("system prompt", f"there, {len(family.system_prompt)} characters")
    return subject.failed("system prompt", "the template drops or changes it", OTHER_TEMPLATE)


def check_tags(
    subject: Subject,
    tokenizer: Any,
    tags: ThinkingTags,
    skip_special_tokens: bool = True,
    tags_are_text: bool = False,
) -> Finding:
    """Every tag survives tokenisation and vLLM's decoding, which drops special tokens unless the family keeps them."""
    written = [tag for tag in (tags.open, tags.close, tags.answer_open, tags.answer_close) if tag is not None]
    ids = {tag: tokenizer(tag, add_special_tokens=False).input_ids for tag in written}
    changed = [tag for tag in written if tokenizer.decode(ids[tag], skip_special_tokens=False) != tag]
    if changed:
        return subject.failed(
            "thinking tags",
            f"{', '.join(changed)} does not survive tokenisation",
            "check the model's family, and that the tokenizer is this model's own",
        )
    texts = {tag: tokenizer.decode(ids[tag], skip_special_tokens=skip_special_tokens) for tag in written}
    hidden = [tag for tag, text in texts.items() if tag not in text]
    if hidden:
        return subject.failed(
            "thinking tags",
            f"{', '.join(hidden)} is a special token, which the engine leaves out of the response's text",
            'make it an ordinary added token ("special": false in tokenizer.json and tokenizer_config.json)',
        )
    spelled = [f"{tag} as {len(ids[tag])} tokens" for tag in written if len(ids[tag]) > 1]
    if spelled and tags.open == "<think>" and not tags_are_text:
        return subject.warning(
            "thinking tags",
            f"not in the vocabulary: {', '.join(spelled)}",
            "check that the model is of this family, whose tokenizers have a token for each tag",
        )
    return subject.ok("thinking tags", "; ".join(spelled) or f"{', '.join(written)}: one token each")


def check_strategy_prompt(
    subject: Subject, tokenizer: Any, spec: StrategySpec, rendered: str, tags: ThinkingTags | None
) -> Finding:
    """The first prompt of a strategy: its prefill is at the end, unchanged by tokenisation, and opens one thought."""
    check = f"prefill of {spec.name}"
    sent: list[Request] = []
    try:
        prefill = asyncio.run(_prefill(spec, rendered, tags, sent))
    except StrategyOptionsError as error:  # the catalog has no value for an option without a default
        problem = str(error).partition(" Fix: ")[0].rstrip(".")
        return subject.not_checked(check, problem, "run one prompt with its options: evaluate --limit 1")
    except (Exception, SystemExit) as error:  # a user's code; one faulty strategy must not hide other findings
        return _strategy_failure(subject, spec, error, after_request=bool(sent))
    if not sent:
        return subject.failed(
            check, f"{_code_place(spec)}it sends no request", "let `decode` call `generate` with one Request or more"
        )
    prompt = sent[0].prompt
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    if tokenizer.decode(ids, skip_special_tokens=False) != prompt:
        return subject.failed(check, "tokenisation changes the prompt", "check that the tokenizer is this model's own")
    if not prompt.endswith(prefill):
        return subject.failed(check, "the prompt does not end with it", OTHER_TEMPLATE)
    if tags is None:
        return subject.ok(check, "none: the family has no thinking tags")
    turn = _assistant_part(prompt)
    opened = turn.count(tags.open)
    wanted = 1 if prefill else 0
    if opened == 1 and not prefill and turn.rstrip().endswith(tags.close):
        return subject.ok(check, "the template writes a whole thought itself")
    if opened != wanted:
        return subject.failed(
            check,
            f"{tags.open} appears {opened} times in the assistant's turn, not {wanted}",
            f"end the template's generation prompt with the assistant's header, or with {tags.open} and a line break",
        )
    if rendered.endswith(prefill):
        ends = "opens and closes" if tags.close in prefill else "opens"
        return subject.ok(check, f"the template {ends} {tags.open} itself" if prefill else "none")
    return subject.ok(check, f"{tags.open} once, {len(tokenizer(prefill, add_special_tokens=False).input_ids)} tokens")


async def _prefill(spec: StrategySpec, rendered: str, tags: ThinkingTags | None, sent: list[Request]) -> str:
    """The prefill of a strategy. Its requests are appended to `sent`, and answered with an empty completion."""

    async def generate(request: Request) -> Completion:
        sent.append(request)
        return Completion("", prompt_tokens=0, completion_tokens=0, finish_reason="stop")

    task = DecodingTask(rendered, tags, Sampling(), seed=None)
    return (await strategy(spec).decode(task, generate, len)).prefill


def _strategy_failure(subject: Subject, spec: StrategySpec, error: BaseException, *, after_request: bool) -> Finding:
    check = f"prefill of {spec.name}"
    if isinstance(error, InputError):
        problem, _, fix = str(error).partition(" Fix: ")  # it has the place
        return subject.failed(check, problem.rstrip("."), fix.rstrip(".") or "correct the strategy")
    reason = f"{type(error).__name__}: {first_line(error)}"
    if after_request:
        fix = "let `decode` accept a completion without text: models write such ones"
        return subject.warning(check, f"{_code_place(spec)}its code failed after an empty completion: {reason}", fix)
    return subject.failed(check, f"{_code_place(spec)}its code failed: {reason}", "correct `decode` of the strategy")


def _code_place(spec: StrategySpec) -> str:
    """File and line of a user's strategy before a message; empty for a built-in one."""
    is_own = catalog.is_from_outside("strategies", spec.name)
    return f"{catalog.origin_of('strategies', spec.name).place}: " if is_own else ""


def _assistant_part(prompt: str) -> str:
    return prompt.rpartition(PROBE)[2]


def gpus_to_check(gpu_memory: int | None, report: GpuReport) -> tuple[Gpus, ...]:
    """The GPUs of `gpu_memory` gigabytes that the user asks about, else those of this machine, else common ones."""
    if gpu_memory is not None:
        return (Gpus(gpu_memory),)
    here = gpus_of_this_process(report)
    if memory := smallest_memory(here):
        return (Gpus(memory, len(here), len(here)),)
    return tuple(Gpus(gigabytes) for gigabytes in KINDS_OF_GPUS)


def check_shape(
    subject: Subject,
    needs: EngineNeeds,
    config: Any | None,
    gpus: Sequence[Gpus],
    tokens: int | None = None,
    contexts: int = MODEL_CONTEXTS,
) -> Iterator[Finding]:
    """`config` is the model's, as transformers reads it; without one only memory is checked.

    `tokens` bound a request, and the KV cache should hold `contexts` contexts, as in a plan.
    """
    if config is None:
        yield subject.not_checked("attention and context", "they are in the model's config")
    else:
        yield check_context(subject, needs, longest_context(config))
        yield check_attention(subject, needs, Attention.of_config(config))
        needs = needs.model_copy(update={"attention": Attention.of_config(config) or needs.attention})
    for each in gpus:
        yield check_memory(subject, needs, each, tokens, contexts)


def longest_context(config: Any | None) -> int | None:
    """The longest context of a model by its own config, None where it is not known."""
    return None if config is None else getattr(config.get_text_config(), "max_position_embeddings", None)


def check_context(subject: Subject, needs: EngineNeeds, longest: int | None) -> Finding:
    if longest is None:
        return subject.not_checked("context", "the model's config has no longest context")
    if needs.context_length > longest:
        return subject.failed(
            "context",
            f"{needs.context_length:,} tokens are configured, the model has {longest:,}",
            f"set the engine's context_length to {longest} or less",
        )
    return subject.ok("context", f"{needs.context_length:,} of the model's {longest:,} tokens")


def check_attention(subject: Subject, needs: EngineNeeds, own: Attention | None) -> Finding:
    """Whether the catalog's attention, by which plans compute the KV cache, is that of the model's config."""
    if own is None:
        return subject.not_checked("attention", "the model's config names no layers or heads")
    found = f"{own.layers} layers, {own.heads} heads, {own.key_value_heads} key-value heads of {own.head_size}"
    known = needs.attention
    if known is not None and own.latent_size is not None:  # vLLM does not use the size of their heads
        own, known = (each.model_copy(update={"head_size": 1}) for each in (own, known))
    if known not in (None, own):
        return subject.failed(
            "attention",
            f"config.json has {found}; the catalog has another attention",
            "correct attention of the catalog's entry, or the model's name",
        )
    return subject.ok("attention", found)


def check_memory(subject: Subject, needs: EngineNeeds, gpus: Gpus, tokens: int | None, contexts: int) -> Finding:
    check = f"memory on {gpus.gigabytes:.3g} GB"
    try:
        fit = fit_engine(needs, gpus, tokens, contexts)
    except PlanError as error:
        detail, _, fix = str(error).partition("Fix: ")
        return subject.failed(check, detail.rstrip(), fix.removesuffix("."))
    return subject.ok(check, fit_sentence(needs, fit))
