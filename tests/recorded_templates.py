"""Tokenizers whose chat templates answer from records of real ones: recorded, not scripted.

`tests/fixtures/chat_renderings` has what real templates wrote (see sources.yaml there). A recorded tokenizer has the
model's special tokens. Its template looks up the conversation and the arguments, and fails for all others. So the
doctor's own way to a prompt is used, the child process included.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from transformers import PreTrainedTokenizerFast

from safechain_ray.catalog import families, models
from safechain_ray.catalog.entries import ModelEntry
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.doctor.all_models import ModelReport, Tokenizers, examine_all_models
from safechain_ray.commands.doctor.model import check_model_prompt
from safechain_ray.commands.doctor.thinking import check_parser
from tools.record_templates import RECORDS, tokenizer_of

NO_COPY = "no public copy of its chat template was found"
TUNED = "tuned from a model whose template was recorded; its own was not found"
NOT_RECORDED = {  # entries that no record covers, and why
    "Skywork-o1": NO_COPY,
    "Sky-T1": NO_COPY,
    "Sky-T1-Flash": NO_COPY,
    "R1-671B": "only changed copies of its chat template were found",
    "R1-7B-SafeChain": TUNED,
    "R1-8B-SafeChain": TUNED,
    "Olmo-3.1-32B-Think": "the template of Olmo 3 was recorded; that of Olmo 3.1 was not found",
    "Gemma-4-26B-A4B": "the template of Gemma 4 31B was recorded; its own was not found",
    "STAR1-8B": TUNED,
    "SafeKey-8B": TUNED,
    "RealSafe-R1-7B": TUNED,
    "Qwen3-4B-SafeRL": TUNED,
}

READ_BY_ALL = ("messages", "add_generation_prompt")


@dataclass(frozen=True, slots=True)
class Record:
    """What one real template wrote. `models` are the hub ids that ship it; `reads` is None without a template."""

    name: str
    model: str
    models: tuple[str, ...]
    source: Mapping[str, str]
    tokens: Mapping[str, Any]
    reads: tuple[str, ...] | None
    renderings: tuple[Mapping[str, Any], ...]
    tokens_from: str
    family: str | None = None
    note: str = ""

    def tokenizer(self) -> PreTrainedTokenizerFast:
        if self.reads is None:
            return _of_python(self)
        names = [name for name in self.reads if name not in READ_BY_ALL]
        return tokenizer_of(self.tokens, _lookup(self.renderings, names))


@cache
def records() -> dict[str, Record]:
    found = {}
    for file in sorted(RECORDS.glob("*.json")):
        read = json.loads(file.read_text(encoding="utf-8"))
        known = {key: value for key, value in read.items() if key in Record.__dataclass_fields__}
        for key in ("models", "reads", "renderings"):
            known[key] = None if known[key] is None else tuple(known[key])
        found[file.stem] = Record(file.stem, **known)
    return found


def record_of(source: str) -> Record | None:
    """The record of the template that the model with this hub id ships."""
    return next((record for record in records().values() if source in record.models), None)


class RecordedTokenizers(Tokenizers):
    """Recorded tokenizers in place of those of the hub. Models that the package ships have their own."""

    def load(self, subject: Subject, model: ModelEntry) -> tuple[Any | None, Finding]:
        if model.source.startswith("package://"):
            return super().load(subject, model)
        record = record_of(model.source)
        if model.chat_template is not None:  # the catalog's own template, for a base model
            return tokenizer_of(records()["llama-3.3-70b-instruct"].tokens, None), subject.ok("tokenizer", "recorded")
        if record is None:
            return None, subject.not_checked("tokenizer", NOT_RECORDED[model.name])
        return record.tokenizer(), subject.ok("tokenizer", f"recorded: {record.name}")


@cache
def recorded_reports() -> tuple[ModelReport, ...]:
    """The reports about all entries of the built-in catalog, against records."""
    return tuple(examine_all_models(RecordedTokenizers()))


def report_of(record: Record) -> ModelReport:
    """The report about a recorded template against its family. Raises KeyError for a guard's."""
    family, subject = families()[record.family or ""], Subject(record.model)
    findings = (*check_parser(subject, family), *check_model_prompt(subject, record.tokenizer(), family, None))
    return ModelReport(record.model, family.name, findings)


def table_of_records() -> list[str]:
    """Rows of the table in docs/chat-templates.md: one for each recorded template of a model, by family."""
    of_models = [record for record in records().values() if record.family is not None]
    return [_row(record) for record in sorted(of_models, key=lambda record: (record.family, record.name))]


def _row(record: Record) -> str:
    report = report_of(record)
    opened = "the model" if report.thought == "none" else "the template"
    if families()[report.family].tags is None:
        opened = "no tags"
    checks = {finding.check for finding in report.findings if finding.status == "ok"}
    verified = [name for name, status in report.summary().items() if status == "ok" and name != "switch"]
    verified += [name for name in ("switch", "efforts") if name in checks]
    if record.tokens_from.startswith("not verified"):
        verified.remove("tags")
    entries = [name for name, entry in models().items() if entry.source in record.models]
    revision = record.source["revision"]
    at = revision if " " in revision else f"at {revision[:7]}"
    cells = (
        record.model,
        f"`{report.family}`",
        ", ".join(entries) or "-",
        opened,
        ", ".join(verified),
        f"{record.source['repository']} {at}, {record.source['path']}",
    )
    return f"| {' | '.join(cells)} |"


def table_of_unverified() -> list[str]:
    """Rows of the table of entries without a record, by reason."""
    reasons = dict.fromkeys(NOT_RECORDED.values())
    return [
        f"| {', '.join(name for name, why in NOT_RECORDED.items() if why == reason)} | {reason} |" for reason in reasons
    ]


def _key(turns: Any, arguments: Mapping[str, Any]) -> str:
    return json.dumps([turns, sorted(arguments.items())], ensure_ascii=False)


def _lookup(renderings: tuple[Mapping[str, Any], ...], names: list[str]) -> str:
    """A template that reads `names` and writes the recorded prompts."""
    given = "".join(
        f"{{%- if {name} is defined -%}}{{%- set ns.given = ns.given + [['{name}', {name}]] -%}}{{%- endif -%}}"
        for name in sorted(names)
        if any(name in rendering["arguments"] for rendering in renderings)
    )
    others = " ".join(f"{{%- set unused = {name} -%}}" for name in names)
    known = {_key(rendering["turns"], rendering["arguments"]): rendering["prompt"] for rendering in renderings}
    return (
        f"{others}{{%- set ns = namespace(given=[]) -%}}{given}{{%- set known = {json.dumps(known)} -%}}"
        "{%- set key = [messages, ns.given] | tojson -%}"
        "{%- if not add_generation_prompt or key not in known -%}"
        "{{ raise_exception('not recorded: ' + key) }}{%- endif -%}"
        "{{ known[key] }}"
    )


def _of_python(record: Record) -> PreTrainedTokenizerFast:
    known = {_key(rendering["turns"], rendering["arguments"]): rendering["prompt"] for rendering in record.renderings}
    plain = tokenizer_of(record.tokens, None)

    class Recorded(PreTrainedTokenizerFast):
        """Writes prompts in Python, as vLLM's tokenizer of this model does."""

        def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
            arguments = {key: value for key, value in options.items() if key not in KEYS_OF_ALL}
            return known[_key(conversation, arguments)]

    plain.__class__ = Recorded
    return plain


KEYS_OF_ALL = ("chat_template", "tokenize", "add_generation_prompt")
