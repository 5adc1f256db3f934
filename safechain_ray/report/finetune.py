"""A fine-tuning in tables: what it would take of memory and cluster, and what it came to."""

from collections.abc import Mapping
from typing import Any

from safechain_ray.config import FinetuneConfig
from safechain_ray.pipelines.training.plan import TrainingPlan
from safechain_ray.pipelines.training.resolve import Trainee
from safechain_ray.report.document import Document, Row, Table, cell, figure_columns, text_column
from safechain_ray.report.labels import clock
from safechain_ray.training.memory_plan import GIGABYTE

ESTIMATE = (
    "Weights, gradients and AdamW's states follow from what is kept; the other figures are estimates on the high side, "
    "and none was measured on GPUs."
)


def plan_summary(config: FinetuneConfig, trainee: Trainee, plan: TrainingPlan) -> dict[str, Any]:
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
        "gigabytes_a_worker": {item.name: round(item.bytes / GIGABYTE, 2) for item in plan.memory.items},
        "total_gigabytes_a_worker": round(plan.memory.gigabytes, 2),
        "gpu_gigabytes": config.resources.gpu_memory if plan.device == "cuda" else None,
        "cpus_a_worker": plan.worker.cpus,
        "node_gigabytes_a_worker": round(plan.worker.memory, 1),
        "notes": list(plan.notes),
        "refusal": plan.refusal,
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
    return Document((memory,), (), (*summary["notes"], ESTIMATE), title)


def outcome_document(record: Mapping[str, Any]) -> Document:
    """What the command shows at its end."""
    counts = record["training_set"]["learnt"]
    evaluation = record["evaluation_loss"]
    rows = (
        (cell("steps"), cell(f"{record['steps']:,}")),
        (cell("loss of the last steps"), cell(f"{record['loss']:.4f}")),
        (cell("evaluation loss"), cell("–" if evaluation is None else f"{evaluation:.4f}")),
        (cell("examples"), cell(f"{counts['examples']:,}")),
        (cell("left out"), cell(f"{counts['too_long'] + sum(counts['left_out'].values()):,}")),
        (cell("tokens trained on"), cell(f"{record['tokens']:,}")),
        (cell("time of the last try"), cell(clock(record["seconds"]))),
    )
    model = record["config"]["model"]["name"]
    table = Table("Training", (text_column(""), *figure_columns("")), (rows,), "Losses in nats a token.")
    return Document((table,), (), (), f"{model}, fine-tuned")
