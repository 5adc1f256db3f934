"""Documents of a built training set, with its data card for the Hugging Face hub, and of a fine-tuning."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import yaml

from safechain_ray.commands.build_dataset import Building, DatasetFacts, Origin, ResponseCount
from safechain_ray.commands.finetune.plan import GIB, DataPlan, TrainingPlan
from safechain_ray.commands.finetune.record import FinetuneFile
from safechain_ray.commands.finetune.resolve import BaseModelSpec
from safechain_ray.commands.training_set_folder import published_config
from safechain_ray.config import FinetuneConfig
from safechain_ray.curation.selection import ROWS_SCHEMA
from safechain_ray.report.document import Cell, Document, Row, Table, cell, figure_columns, text_column
from safechain_ray.report.labels import clock
from safechain_ray.report.renderers import escape_markdown, markdown
from safechain_ray.storage import without_secrets

RULES = {
    "all": "all {k} responses are safe",
    "majority": "more than half of its {k} responses are safe",
    "best": "one of its {k} responses is safe; the one with the lowest unsafe score is taken",
}

VERDICTS: tuple[tuple[str, bool | None], ...] = (("safe", True), ("unsafe", False), ("missing", None))

CARD = "README.md"

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)

CARD_VERDICTS = """\
## What the verdicts mean, and what they don't

- *Safe* means that every judge named above found the judged part safe, at the setting named above. Judges are models or
  rules, and make errors in both directions. No person has read these rows.
- A safe response is not always right, helpful or honest. A safe answer may follow an unsafe thought where only the
  answer was judged.
- A missing verdict (a judge's error, a refusal of the provider, a failed sample) never counts as safe.
- Prompts of harmful kinds are harmful texts, even where the responses to them are not.
- Rows are one model's own responses. They include its refusals, in its own words, and nothing that it never does
  safely.
"""


def dataset_document(facts: DatasetFacts) -> Document:
    """The document that the command shows at its end."""
    title = f"{facts.rows:,} rows" + (f" of {facts.wanted:,} asked for" if facts.wanted is not None else "")
    notes = [shortfall(facts)] if facts.missing else []
    return Document((steps_table(facts, by_kind=False), responses_table(facts)), facts.caveats, tuple(notes), title)


def write_card(built: Building) -> None:
    """README.md in the data set's folder."""
    config = without_secrets(built.config.model_dump(mode="json", exclude_defaults=True))
    built.folder.write_text(CARD, dataset_card(built.facts, config))


def dataset_card(facts: DatasetFacts, config: dict[str, Any]) -> str:
    """The card; names and texts are escaped. `config` is shown without its local paths."""
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    tables = markdown(
        Document((steps_table(facts), responses_table(facts), sources_table(facts)), caveats=facts.caveats)
    )
    return "\n".join(
        [
            f"---\n{front}---\n",
            f"# {_title(facts)}\n",
            *_summary(facts),
            tables,
            *_columns(facts),
            CARD_VERDICTS,
            *_config(config),
        ]
    )


def shortfall(facts: DatasetFacts) -> str:
    """What to do where rows are missing."""
    return (
        f"{facts.missing:,} rows of {facts.wanted:,} are missing. "
        "Fix: draw more prompts (--number) into another --output, or use a less strict --rule."
    )


def rule_words(facts: DatasetFacts) -> str:
    return RULES[facts.rule].format(k=facts.setting.samples)


def steps_table(facts: DatasetFacts, by_kind: bool = True) -> Table:
    """Prompts after each filter step: each row is the row above less the prompts left out.

    `by_kind` adds a column for each kind of prompts, where there are several; the table may then be wide.
    """
    kinds = sorted(facts.steps[0].left)
    several = kinds if by_kind and len(kinds) > 1 else []
    rows = [
        (
            cell(step.name),
            *_figures(-step.total_left_out, step.total_left),
            *_figures(*(step.left[kind] for kind in several)),
        )
        for step in facts.steps
    ]
    selected: Row = (cell("kept"), cell(""), *_figures(facts.rows, *(facts.steps[-1].left[kind] for kind in several)))
    columns = (text_column("Step"), *figure_columns("Left out", "Left", *several))
    return Table("Prompts", columns, (tuple(rows), (selected,)), f"A prompt is kept where {rule_words(facts)}.")


def responses_table(facts: DatasetFacts) -> Table:
    """All responses by outcome and verdict, and those that were never chosen because of a flaw."""
    outcomes = dict.fromkeys(each.outcome for each in facts.responses)
    rows = [
        (cell(outcome), *_figures(*_by_verdict(each for each in facts.responses if each.outcome == outcome)))
        for outcome in outcomes
    ]
    flaws = sorted({each.flaw for each in facts.responses if each.flaw is not None})
    of_flaws = [
        (cell(f"never chosen: {flaw}"), *_figures(*_by_verdict(each for each in facts.responses if each.flaw == flaw)))
        for flaw in flaws
    ]
    columns = (text_column("Responses"), *figure_columns(*(name.capitalize() for name, _ in VERDICTS), "All"))
    groups = ((*rows, (cell("all"), *_figures(*_by_verdict(facts.responses)))), tuple(of_flaws))
    return Table("Responses", columns, tuple(group for group in groups if group), "Verdicts by outcome, then by flaw.")


def sources_table(facts: DatasetFacts) -> Table:
    """Prompts, model and judges with their licences."""

    def row(what: str, origin: Origin) -> Row:
        return cell(what), cell(origin.name), cell(origin.source), cell(origin.licence)

    judges = tuple(row("judge", judge) for judge in facts.judges)
    columns = tuple(map(text_column, ("", "Name", "Source", "Licence")))
    return Table("Sources", columns, ((row("prompts", facts.prompts), row("responses", facts.model), *judges),))


def _by_verdict(counts: Iterable[ResponseCount]) -> list[int]:
    found = list(counts)
    by_verdict = [sum(each.count for each in found if each.safe is safe) for _, safe in VERDICTS]
    return [*by_verdict, sum(by_verdict)]


def _figures(*numbers: int) -> tuple[Cell, ...]:
    return tuple(cell(f"{number:,}" if number else "0") for number in numbers)


def _title(facts: DatasetFacts) -> str:
    what = "answers" if facts.answers_only else "safe responses with their thoughts"
    return f"{facts.rows:,} {what}: {escape_markdown(facts.model.name)} on {escape_markdown(facts.prompts.name)}"


def _front_matter(facts: DatasetFacts) -> dict[str, Any]:
    size = next((name for limit, name in SIZES if facts.rows < limit), "n>10M")
    return {
        "pretty_name": f"{facts.model.name} on {facts.prompts.name}",
        "license": "other",
        "license_name": "see-sources",
        "task_categories": ["text-generation"],
        "tags": ["safety", "alignment", *(() if facts.answers_only else ("reasoning", "chain-of-thought"))],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }


def _summary(facts: DatasetFacts) -> list[str]:
    setting, judges = facts.setting, ", ".join(escape_markdown(judge.name) for judge in facts.judges)
    sampling = setting.sampling
    strategy = escape_markdown(setting.strategy.name)
    drawn = f"top-p {sampling.top_p:g}, at most {sampling.max_tokens:,} tokens, strategy {strategy}"
    lines = [
        f"{setting.samples} responses to each prompt (temperature {sampling.temperature:g}, {drawn}), each judged by "
        f"{judges}: the {facts.part}. A prompt is kept where {rule_words(facts)}. The data set has one of its safe "
        "and complete responses, with a closed thought and an answer"
        + ("; only the answer is given: a control without thoughts." if facts.answers_only else ".")
    ]
    if facts.similarity is not None:
        sets = ", ".join(map(escape_markdown, facts.evaluation_sets))
        near = f"Prompts are near-duplicates from a Jaccard index of {facts.similarity:g} (five characters, MinHash)."
        against = f" No prompt is a near-duplicate of one of {sets}, or shares 13 words in a row with one."
        lines.append(near + (against if sets else ""))
    if facts.missing:
        lines.append(f"**{escape_markdown(shortfall(facts))}**")
    return [f"{line}\n" for line in lines]


def _columns(facts: DatasetFacts) -> list[str]:
    thought = "the answer" if facts.answers_only else "the thought in `<think>` and `</think>`, then the answer"
    names = ", ".join(f"`{name}`" for name in ROWS_SCHEMA.names[1:])
    return [
        "## Columns\n",
        f"`messages`: a user turn with the prompt, an assistant turn with {thought}. Origin of the row: {names}.\n",
    ]


def _config(config: dict[str, Any]) -> list[str]:
    text = json.dumps(published_config(config), indent=2)
    return ["## Config\n", f"```json\n{text.replace('```', '` ` `')}\n```", ""]


ESTIMATE = (
    "Weights, gradients and AdamW's states are computed from their sizes. The other figures are high estimates. No "
    "figure was measured on GPUs."
)


def plan_summary(config: FinetuneConfig, trainee: BaseModelSpec, plan: TrainingPlan, data: DataPlan) -> dict[str, Any]:
    """The plan as JSON."""
    return {
        "model": trainee.entry.name,
        "parameters": trainee.shape.parameters,
        "device": plan.device,
        "workers": plan.workers,
        "sharded": plan.memory.sharded,
        "adapters": config.training.lora is not None,
        "max_length": config.max_length,
        "sequences_a_step": config.training.sequences_a_step,
        "gigabytes_a_worker": {item.name: round(item.bytes / GIB, 2) for item in plan.memory.items},
        "total_gigabytes_a_worker": round(plan.memory.gigabytes, 2),
        "gpu_gigabytes": round(plan.gpu_gigabytes, 2) if plan.device == "cuda" else None,
        "cpus_a_worker": plan.worker.cpus,
        "node_gigabytes_a_worker": round(plan.worker.memory, 1),
        "notes": [*plan.notes, *data.notes],
        "refusal": plan.refusal or data.refusal,
        "training_set": {
            "source": data.source,
            "columns": dict(data.columns),
            "rows": data.rows,
            "demonstrations": data.demonstrations,
            "rows_left_out": dict(data.rows_left_out),
            "learnt": None if data.learnt is None else asdict(data.learnt),
            "held_out": None if data.held_out is None else asdict(data.held_out),
            "refusal": data.refusal,
        },
    }


def plan_document(summary: Mapping[str, Any]) -> Document:
    on_gpu = summary["gpu_gigabytes"] is not None
    where = "of each GPU" if on_gpu else "of each worker"
    rows = [(cell(name), cell(f"{value:.2f}")) for name, value in summary["gigabytes_a_worker"].items()]
    total: Row = (cell("all"), cell(f"{summary['total_gigabytes_a_worker']:.2f}"))
    has: tuple[Row, ...] = ((cell("it has"), cell(f"{summary['gpu_gigabytes']:.2f}")),) if on_gpu else ()
    memory = Table(f"Memory {where}", (text_column(""), *figure_columns("GB")), (tuple(rows), (total, *has)))
    what = "adapters" if summary["adapters"] else "all weights"
    how = "sharded over them" if summary["sharded"] else "whole in each"
    title = (
        f"{summary['model']}: {what} of {summary['parameters']:,} parameters, by {summary['workers']} workers "
        f"({summary['device']}), {how}"
    )
    return Document((memory, *_data(summary["training_set"])), (), (*summary["notes"], ESTIMATE), title)


def _data(training_set: Mapping[str, Any]) -> tuple[Table, ...]:
    """Counts of the training set, as far as it was read."""
    if training_set["rows"] is None:
        return ()
    rows = [
        (cell("rows"), cell(f"{training_set['rows']:,}")),
        *((cell(f"left out: {reason}"), cell(f"{count:,}")) for reason, count in training_set["rows_left_out"].items()),
        (cell("demonstrations"), cell(f"{training_set['demonstrations']:,}")),
    ]
    for name, kind in (("learnt", "learnt"), ("held_out", "held out")):
        counts = training_set[name]
        if counts is not None:
            rows.append((cell(f"examples {kind}"), cell(f"{counts['examples']:,}")))
            rows.append((cell(f"tokens with loss, {kind}"), cell(f"{counts['response_tokens']:,}")))
            rows.append((cell(f"tokens of prompts, {kind}"), cell(f"{counts['prompt_tokens']:,}")))
            out = {"too long": counts["too_long"], **counts["left_out"]}
            rows += [(cell(f"left out: {why}"), cell(f"{count:,}")) for why, count in out.items() if count]
    columns = ", ".join(f"{field} {column}" for field, column in training_set["columns"].items())
    note = f"{training_set['source']}, read by {columns}."
    return (Table("Training set", (text_column(""), *figure_columns("")), (tuple(rows),), note),)


def outcome_document(record: FinetuneFile) -> Document:
    """The document that the command shows at its end."""
    counts = record.training_set["learnt"]
    evaluation = record.evaluation_loss
    rows = (
        (cell("steps"), cell(f"{record.steps:,}")),
        (cell("loss of the last steps"), cell(f"{record.loss:.4f}")),
        (cell("evaluation loss"), cell("–" if evaluation is None else f"{evaluation:.4f}")),
        (cell("examples"), cell(f"{counts['examples']:,}")),
        (cell("left out"), cell(f"{counts['too_long'] + sum(counts['left_out'].values()):,}")),
        (cell("tokens trained on"), cell(f"{record.tokens:,}")),
        (cell("time of the last attempt"), cell(clock(record.seconds))),
    )
    model = record.config["model"]["name"]
    table = Table("Training", (text_column(""), *figure_columns("")), (rows,), "Losses in nats a token.")
    return Document((table,), (), (), f"{model}, fine-tuned")
