"""A training's progress: one sentence with all figures, and a plain line when a phase begins."""

import io

from rich.console import Console

from safechain_ray.commands.finetune.finetune import TrainingSnapshot
from safechain_ray.report.progress import (
    LiveTraining,
    PlainTraining,
    training_progress_for,
    training_sentence,
)

HALF_WAY = TrainingSnapshot(
    "training",
    step=50,
    steps=100,
    seconds=30.0,
    steps_per_second=2.0,
    tokens_per_second=12345.6,
    logged={"loss": 0.51234, "eval_loss": 0.6, "epoch": 1.0},
)


def test_the_sentence_has_steps_losses_speed_and_time():
    assert training_sentence(HALF_WAY) == (
        "training: step 50 of 100 (50%), loss 0.5123, evaluation loss 0.6000, 12,346 tokens/s, 0:30 so far, 0:25 to go."
    )


def test_before_the_first_step_there_is_the_time_alone():
    assert training_sentence(TrainingSnapshot("loading the model", seconds=5.0)) == "loading the model: 0:05 so far."


def test_lines_come_for_what_is_new_and_else_now_and_then():
    out = io.StringIO()
    with PlainTraining(Console(file=out, width=200)) as progress:
        progress.report("2 workers start.")
        for phase in ("loading the model", "training", "training", "uploading the model", "training"):
            progress.update(TrainingSnapshot(phase))
    lines = [line.partition(" ")[2].partition(":")[0] for line in out.getvalue().splitlines()]
    assert lines == ["2 workers start.", "loading the model", "uploading the model"]


def test_a_terminal_gets_a_bar():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with training_progress_for(console) as progress:
        assert isinstance(progress, LiveTraining)
        progress.update(HALF_WAY)
        progress.report("A sentence [with brackets].")
    assert "step 50/100" in out.getvalue()
    assert "[with brackets]" in out.getvalue()
    assert isinstance(training_progress_for(Console(file=io.StringIO())), PlainTraining)
