"""All checks in their order: of a model, its judges and the output folder, or of the installation."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from safechain_ray import catalog
from safechain_ray.catalog.entries import EngineNeeds, ModelEntry
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.cluster.gpu_fit import JUDGE_CONTEXTS, Gpus
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.doctor.access import (
    ask_hub,
    check_api,
    check_disk,
    check_judge_endpoint,
    check_token,
    is_local,
    load,
    stored_findings,
)
from safechain_ray.commands.doctor.judge import VERDICT_TOKENS, check_judge_prompt, check_room, template_tokens
from safechain_ray.commands.doctor.model import check_prompt_of, check_shape, gpus_to_check, longest_context
from safechain_ray.commands.doctor.thinking import check_parser
from safechain_ray.config import JudgeConfig, ModelConfig, RunConfig
from safechain_ray.engines.gpus import read_gpus
from safechain_ray.engines.weights import is_stored, weights_location
from safechain_ray.errors import InputError, StorageError
from safechain_ray.runs.pools import TEMPLATE_TOKENS, judge_bound
from safechain_ray.runs.resolve import resolve_judge, resolve_names
from safechain_ray.runs.resolve_model import api_model, is_api, resolve_model
from safechain_ray.storage import open_folder, redact, refuse_mistyped

PROMPT_TOKENS = 2_048
"""Tokens of the longest prompt, if no data set is known."""


@dataclass(frozen=True, slots=True)
class LoadedFiles:
    """The files of a model that could be loaded without its weights; None for those that could not."""

    tokenizer: Any | None
    config: Any | None


def examine(
    model: ModelConfig | None,
    judges: tuple[JudgeConfig, ...],
    *,
    weights: str | None,
    output: str | None,
    gpu_memory: int | None,
    max_tokens: int,
) -> Iterator[Finding]:
    """The findings about a model and judges. `weights` is a folder that replaces the model's source.

    Raises InputError, before any finding, for a name or folder that does not exist.
    """
    judge_entries = [resolve_judge(judge) for judge in judges]
    gpus = gpus_to_check(gpu_memory, read_gpus())
    if model is not None and is_api(model):
        if weights is not None:
            raise InputError(f"--weights: {model.name} runs behind an API, which has its weights. Fix: leave it out.")
        api = api_model(model)
        catalog.family_of(api)
        return chain(check_api(api), _findings(None, judge_entries, output, gpus, max_tokens))
    entry = None if model is None else _entry(model, weights)
    return _findings(entry, judge_entries, output, gpus, max_tokens)


def examine_runs(runs: Sequence[RunConfig], output: str | None, gpu_memory: int | None) -> Iterator[Finding]:
    """The findings about the models of a run or a sweep, its judges, and its output; equal findings once.

    `gpu_memory` of None is that of the config. Raises InputError, before any finding, for names and settings that
    can't work.
    """
    longest = [max(setting.sampling.max_tokens for setting in resolve_names(run).settings) for run in runs]
    checks = [
        examine(
            run.model,
            run.judges,
            weights=None,
            output=output if run is runs[-1] else None,
            gpu_memory=gpu_memory or run.resources.gpu_memory,
            max_tokens=max_tokens,
        )
        for run, max_tokens in zip(runs, longest, strict=True)
    ]
    return iter(dict.fromkeys(chain.from_iterable(checks)))


def _entry(model: ModelConfig, weights: str | None) -> ModelEntry:
    entry = resolve_model(model)
    catalog.family_of(entry)
    if weights is None:
        return entry
    refuse_mistyped(weights)
    if is_stored(weights):
        return entry.model_copy(update={"source": weights, "revision": None})
    folder = weights if weights.startswith(("/", "./", "../", "~", "file://")) else f"./{weights}"
    return entry.model_copy(update={"source": weights_location(folder), "revision": None})


def _findings(
    model: ModelEntry | None, judges: list[JudgeEntry], output: str | None, gpus: tuple[Gpus, ...], max_tokens: int
) -> Iterator[Finding]:
    if model is not None:
        yield from _model_findings(model, gpus, max_tokens)
    for index, judge in enumerate(judges):
        yield from _judge_findings(Subject(judge.name, f"judges.{index}"), judge, model, gpus, max_tokens)
    if output is not None:
        yield check_output(output)


def _model_findings(model: ModelEntry, gpus: tuple[Gpus, ...], max_tokens: int) -> Iterator[Finding]:
    subject = Subject(model.name)
    files = yield from _file_findings(subject, model, gated=model.gated, access=model.access)
    yield from check_shape(subject, model, files.config, gpus, PROMPT_TOKENS + TEMPLATE_TOKENS + max_tokens)
    family = catalog.family_of(model)
    yield from check_parser(subject, family)
    if files.tokenizer is not None:
        yield from check_prompt_of(subject, files.tokenizer, family, model)
    else:
        yield subject.not_checked("prompt", "template, BOS, tags and prefills need the tokenizer")


def _judge_findings(
    subject: Subject, judge: JudgeEntry, model: ModelEntry | None, gpus: tuple[Gpus, ...], max_tokens: int
) -> Iterator[Finding]:
    engine = judge.engine
    if judge.endpoint is not None:
        yield check_judge_endpoint(subject, judge)
    if engine is None:
        if judge.endpoint is None:
            yield subject.ok("engine", f"a judge of kind {judge.kind} needs none here")
        return
    files = yield from _file_findings(subject, engine, gated=judge.gated, access=judge.access)
    bound = judge_bound(PROMPT_TOKENS + max_tokens) + judge.own_tokens
    yield from check_shape(subject, engine, files.config, gpus, bound, JUDGE_CONTEXTS)
    broken = False
    if files.tokenizer is not None:
        findings = list(check_judge_prompt(subject, files.tokenizer, judge))
        broken = findings[0].status == "failed"
        yield from findings
    else:
        yield subject.not_checked("prompt", "template and BOS need the tokenizer")
    if model is not None:
        known = files.tokenizer is not None and not broken
        own_tokens = template_tokens(files.tokenizer, judge) if known else None
        answer = VERDICT_TOKENS if judge.request is None else judge.request.max_tokens
        yield check_room(subject, model, engine, max_tokens, own_tokens, longest_context(files.config), answer)


def _file_findings(
    subject: Subject, needs: EngineNeeds, *, gated: bool, access: str | None
) -> Generator[Finding, None, LoadedFiles]:
    if is_stored(needs.source):
        return LoadedFiles(*(yield from stored_findings(subject, needs.source)))
    yield check_token(subject, needs.source, needs.revision, gated=gated, access=access)
    granted, hub_bytes = False, None
    if not is_local(needs.source):
        answer = ask_hub(subject, needs.source, needs.revision)
        yield answer.finding
        granted, hub_bytes = answer.granted, answer.weight_bytes
    found, tokenizer = load(subject, "tokenizer", needs.source, needs.revision, from_hub=granted)
    yield found
    found, config = load(subject, "config", needs.source, needs.revision, from_hub=granted)
    yield found
    yield check_disk(subject, needs, hub_bytes)
    return LoadedFiles(tokenizer, config)


def check_output(output: str) -> Finding:
    """Whether the run's folder can be written: a small file is written and deleted again."""
    subject = Subject("output")
    try:
        open_folder(output).check_writable()
    except StorageError as error:
        return Finding(subject.name, "writable", "failed", str(error))  # the error names the fix itself
    return subject.ok("writable", f"a file was written to {redact(output)} and deleted again")
