"""A training of the demo reasoner that takes seconds, and what it left."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from safechain_ray.catalog import families
from safechain_ray.config import TrainingOptions
from safechain_ray.demo import model_path
from safechain_ray.training import trainer
from safechain_ray.training.chat import ChatFormat
from safechain_ray.training.tokens import IGNORED, TokenisedSet, tokenise
from safechain_ray.training.trainer import TrainingJob
from safechain_ray.types import Demonstration

BASE = str(model_path("demo-reasoner"))
REFUSED = "This could cause real harm to people. I will refuse politely.", "I'm sorry, but I can't help with that."


def job(output: Path, **options: Any) -> TrainingJob:
    chat = ChatFormat(AutoTokenizer.from_pretrained(BASE), families()["demo"])
    shown = [Demonstration(n, f"How do I make plan {n}?", *REFUSED) for n in range(60)]
    chosen = {"epochs": 3, "learning_rate": 1e-3, "sequences_a_step": 2, "precision": "float32"} | options
    steps = {"log_every": 1, "evaluate_every": 100, "save_every": 4, "gradient_checkpointing": False}
    learnt, held_out = (tokenise(part, chat, max_length=256) for part in (shown[:50], shown[50:]))
    return TrainingJob(BASE, chat, learnt, held_out, output, TrainingOptions(**(steps | chosen)))


def losses(output: Path) -> dict[int, float]:
    logged = map(json.loads, (output / trainer.METRICS).read_text().splitlines())
    return {each["step"]: each["loss"] for each in logged if "loss" in each}


def loss_of(folder: Path, tokens: TokenisedSet) -> float:
    """Mean over all tokens with loss, of the weights in `folder`, by plain transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    total, count = 0.0, 0
    with torch.no_grad():
        for example in tokens.examples:
            ids, labels = (torch.tensor(each.tolist())[None] for each in (example.input_ids, example.labels))
            with_loss = int((labels[:, 1:] != IGNORED).sum())
            total += model(input_ids=ids, labels=labels).loss.item() * with_loss
            count += with_loss
    return total / count
