"""docs/finetune.md: its table of memory is what the plan says."""

import pytest

from safechain_ray import catalog
from safechain_ray.commands.finetune.plan import GIB, plan_memory
from safechain_ray.config import LoraOptions, TrainingOptions
from tests.deployment import ROOT

PAGE = ROOT / "docs" / "finetune.md"
WAYS = [
    (model, gpus, adapters) for gpus, adapters in ((8, False), (4, False), (8, True)) for model in ("R1-7B", "R1-8B")
]


def line(model: str, gpus: int, adapters: bool) -> str:
    options = TrainingOptions(lora=LoraOptions() if adapters else None)
    plan = plan_memory(catalog.shapes()[model], options, 16384, gpus)
    held = {item.name: item.bytes / GIB for item in plan.items}
    states = held["weights"] + held["gradients"] + held["AdamW's two states"]
    rest = held["attention mask"] + held["runtime"]
    figures = (states, held["gathered layers"], held["activations"], held["logits"], rest, plan.gigabytes)
    name = f"{model}, {gpus} GPUs{', adapters' if adapters else ''}"
    return f"| {name} | {' | '.join(f'{figure:.1f}' for figure in figures)} |"


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_table_of_memory_is_what_the_plan_says(way: tuple[str, int, bool]) -> None:
    assert line(*way) in PAGE.read_text(encoding="utf-8")
