"""`doctor --all-models`: the prompt checks of every model of the catalog, and what could not be verified.

Only tokenizers are loaded. Access, sizes and disk are checks of one model (`doctor --model`), so a gated or unreachable
model is "not checked" here. After one request without an answer no more are sent to the hub: each takes seconds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from safechain_ray import catalog
from safechain_ray.catalog.entries import ModelEntry
from safechain_ray.commands.doctor import Finding, Status, Subject, any_failed
from safechain_ray.commands.doctor.access import ask_hub, is_local, load
from safechain_ray.commands.doctor.model import check_prompt_of
from safechain_ray.commands.doctor.thinking import check_parser
from safechain_ray.engines.weights import StoredModel, is_stored
from safechain_ray.errors import SafechainError, first_line

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "template": ("chat template", "template arguments", "BOS", "system prompt"),
    "tags": ("thinking tags",),
    "prefill": ("prefill of ",),
    "switch": ("switch", "efforts"),
    "parser": ("reasoning parser",),
}
"""Columns of the table, and the beginnings of the checks that each one sums up."""

WORST_FIRST: tuple[Status, ...] = ("failed", "warning", "not checked", "ok")

BEHIND_API = "behind an API, which writes the prompt itself"


@dataclass(frozen=True, slots=True)
class ModelReport:
    """The findings about one entry. `unverified` is the one that says why its prompt could not be checked."""

    model: str
    family: str
    findings: tuple[Finding, ...]
    unverified: Finding | None = None

    def summary(self) -> dict[str, Status | None]:
        """The worst status of each column, None where the family has nothing to check."""
        summary = {column: self._worst(checks) for column, checks in COLUMNS.items()}
        if any_failed(self.findings) and not any(status == "failed" for status in summary.values()):
            return {**summary, "template": "failed"}  # neither the tokenizer nor the entry could be read
        if self.unverified is None:
            return summary
        family = catalog.families().get(self.family)
        has_switch = family is not None and bool(family.no_think or family.efforts)
        unknown = ("template", "tags", "prefill", *(("switch",) if has_switch else ()))
        return {**summary, **dict.fromkeys(unknown, "not checked")}

    def _worst(self, checks: tuple[str, ...]) -> Status | None:
        found = {finding.status for finding in self.findings if finding.check.startswith(checks)}
        return next((status for status in WORST_FIRST if status in found), None)

    @property
    def thought(self) -> str | None:
        """How the thought of a run begins, in the words of the check of the default strategy."""
        found = (finding for finding in self.findings if finding.check == "prefill of default")
        return next((finding.detail for finding in found if finding.status == "ok"), None)


class Tokenizers:
    """Loads the tokenizers of models from folders, stores, the cache and the hub."""

    def __init__(self) -> None:
        self._silent: tuple[str, str | None] | None = None

    def load(self, subject: Subject, model: ModelEntry) -> tuple[Any | None, Finding]:
        """The tokenizer, or None with a finding that is failed or not checked.

        Raises the errors of `StoredModel.at`.
        """
        if is_stored(model.source):
            with StoredModel.at(model.source).without_weights() as folder:
                return self._loaded(subject, str(folder), None, from_hub=False)
        if is_local(model.source):
            return self._loaded(subject, model.source, model.revision, from_hub=False)
        access = self._access(subject, model)
        tokenizer, found = self._loaded(subject, model.source, model.revision, from_hub=access.status == "ok")
        return tokenizer, found if tokenizer is not None or access.status == "ok" else access

    def _loaded(
        self, subject: Subject, source: str, revision: str | None, *, from_hub: bool
    ) -> tuple[Any | None, Finding]:
        found, tokenizer = load(subject, "tokenizer", source, revision, from_hub=from_hub)
        return tokenizer, found

    def _access(self, subject: Subject, model: ModelEntry) -> Finding:
        if self._silent is not None:
            return subject.not_checked("tokenizer", *self._silent)
        answer = ask_hub(subject, model.source, model.revision)
        if not answer.reachable:
            self._silent = f"the hub gives no files: {answer.finding.detail}", answer.finding.fix
            return subject.not_checked("tokenizer", *self._silent)
        if answer.finding.status == "failed" and model.gated:
            return subject.not_checked("tokenizer", "gated, and access is not granted", model.access)
        return answer.finding


def examine_all_models(tokenizers: Tokenizers | None = None) -> Iterator[ModelReport]:
    """A report of each model of the catalog, in its order; then of those behind APIs. Never raises."""
    source = tokenizers or Tokenizers()
    for name, model in catalog.models().items():
        yield _examined(Subject(name, f"models.{name}"), model, source)
    for name, api in catalog.api_models().items():
        finding = Subject(name).not_checked("prompt", BEHIND_API, "check key, address and model with --model")
        yield ModelReport(name, api.family, (finding,), finding)


def _examined(subject: Subject, model: ModelEntry, tokenizers: Tokenizers) -> ModelReport:
    findings: list[Finding] = []
    unverified: Finding | None = None
    try:
        family = catalog.family_of(model)
        findings.extend(check_parser(subject, family))
        tokenizer, found = tokenizers.load(subject, model)
        if tokenizer is None:
            findings.append(found)
            unverified = found if found.status == "not checked" else None
        else:
            findings.extend(check_prompt_of(subject, tokenizer, family, model))
    except SafechainError as error:
        problem, _, fix = str(error).partition(" Fix: ")
        findings.append(subject.failed("entry", problem, fix.removesuffix(".") or "correct the entry"))
    except Exception as error:  # files of a model are foreign, and one broken entry must not hide the others
        findings.append(subject.failed("entry", f"{type(error).__name__}: {first_line(error)}", "correct the entry"))
    return ModelReport(subject.name, model.family, tuple(findings), unverified)


@dataclass(frozen=True, slots=True)
class Unverified:
    """Models whose prompt could not be verified for one reason, and the fix."""

    reason: str
    fix: str | None
    models: tuple[str, ...]


def unverified_by_reason(reports: Iterable[ModelReport]) -> list[Unverified]:
    found: dict[tuple[str, str | None], list[str]] = {}
    for report in reports:
        if (why := report.unverified) is not None:
            found.setdefault((why.detail, why.fix), []).append(report.model)
    return [Unverified(reason, fix, tuple(models)) for (reason, fix), models in found.items()]
