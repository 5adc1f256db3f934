"""The documents of a fine-tuning: its plan (memory, workers, training set) and its outcome."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from safechain_ray.commands.finetune.plan import DataPlan, TrainingPlan
from safechain_ray.commands.finetune.record import FinetuneFile
from safechain_ray.commands.finetune.resolve import BaseModelSpec
from safechain_ray.config import FinetuneConfig
from safechain_ray.report.document import Document, Row, Table, cell, figure_columns, text_column
from safechain_ray.report.labels import clock
from safechain_ray.training.memory_plan import GIB

ESTIMATE = (
    "Weights, gradients and AdamW's states follow from what is kept; the other figures are estimates on the high side, "
    "and none was measured on GPUs."
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
