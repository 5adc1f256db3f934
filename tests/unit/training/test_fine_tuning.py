"""Real training of the demo reasoner: it learns, resumes after a stop with equal losses, and its export loads."""

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from traceback import StackSummary

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.api import CheckpointException
from transformers import AutoTokenizer

from safechain_ray.config import LoraOptions
from safechain_ray.errors import InputError, RunConflictError, StorageError
from safechain_ray.training import trainer
from safechain_ray.training.checkpoints import last_checkpoint
from safechain_ray.training.trainer import Hooks, TrainingJob, TrainingOutcome, train
from tests.small_training import BASE, job, loss_of, losses

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """A second one costs a tiny model more than it computes, and makes its sums differ from run to run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingJob, TrainingOutcome]:
    whole = job(tmp_path_factory.mktemp("undisturbed"))
    return whole, train(whole)


def test_it_learns_and_tells_the_losses_of_every_step(undisturbed: tuple[TrainingJob, TrainingOutcome]):
    whole, outcome = undisturbed
    assert whole.held_out is not None
    before = loss_of(Path(BASE), whole.held_out)
    assert outcome.evaluation_loss is not None
    assert outcome.evaluation_loss < 0.3 * before
    assert list(losses(whole.output)) == list(range(1, outcome.steps + 1))
    assert losses(whole.output)[outcome.steps] == outcome.loss


def test_the_first_loss_is_the_mean_over_the_response_tokens_of_the_step(
    undisturbed: tuple[TrainingJob, TrainingOutcome],
):
    whole, _ = undisturbed  # its examples are alike: any step's tokens have about the loss of all
    assert losses(whole.output)[1] == pytest.approx(loss_of(Path(BASE), whole.learnt), abs=0.05)


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=4)], ids=["all weights", "adapters"])
def test_the_exported_folder_is_that_of_a_plain_model_and_holds_what_was_learnt(
    tmp_path: Path, undisturbed: tuple[TrainingJob, TrainingOutcome], lora: LoraOptions | None
):
    whole, outcome = undisturbed
    if lora is not None:
        whole = job(tmp_path, lora=lora)
        outcome = train(whole)
    assert whole.held_out is not None
    # Half precision, as the base's weights are stored.
    assert loss_of(outcome.model, whole.held_out) == pytest.approx(outcome.evaluation_loss, abs=0.01)
    own = {path.name for path in Path(BASE).iterdir()} - {"README.md", "training.json"}
    assert {path.name for path in outcome.model.iterdir()} == own
    ours, base = (json.loads((folder / "config.json").read_text()) for folder in (outcome.model, Path(BASE)))
    assert ours == base
    exported = AutoTokenizer.from_pretrained(outcome.model)
    assert exported.chat_template == whole.chat.tokenizer.chat_template
    assert exported.eos_token == whole.chat.tokenizer.eos_token


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=4)], ids=["all weights", "adapters"])
def test_half_precision_learns_as_float32_does_and_exports_the_bases_data_type(
    tmp_path: Path, undisturbed: tuple[TrainingJob, TrainingOutcome], lora: LoraOptions | None
):
    whole = undisturbed[0] if lora is None else job(tmp_path / "float32", lora=lora)
    if lora is not None:
        train(whole)
    half = job(tmp_path / "bfloat16", lora=lora, precision="bfloat16")
    outcome = train(half)
    assert losses(half.output) == pytest.approx(losses(whole.output), abs=0.01)
    assert losses(half.output) != losses(whole.output), "nothing was computed in half precision"
    assert half.held_out is not None
    assert loss_of(outcome.model, half.held_out) == pytest.approx(outcome.evaluation_loss, abs=0.01)
    assert {weight.dtype for weight in load_file(outcome.model / "model.safetensors").values()} == {torch.float16}


def raises(error: BaseException) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


class StoppedError(Exception):
    pass


def test_a_run_that_was_stopped_goes_on_to_the_losses_of_an_undisturbed_one(
    tmp_path: Path, undisturbed: tuple[TrainingJob, TrainingOutcome]
):
    whole, outcome = undisturbed

    def stop_in_step_6(logged: Mapping[str, float]) -> None:
        if logged["step"] == 6:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(job(tmp_path), Hooks(logged=stop_in_step_6))
    (tmp_path / "checkpoint-8").mkdir()  # as a kill leaves one that was being written
    resumed = train(job(tmp_path))
    assert resumed.resumed_from == 4
    assert losses(tmp_path) == pytest.approx(losses(whole.output), abs=1e-6)
    assert resumed.evaluation_loss == pytest.approx(outcome.evaluation_loss, abs=1e-6)


def test_a_finished_run_trains_no_step_more(undisturbed: tuple[TrainingJob, TrainingOutcome]):
    whole, outcome = undisturbed
    again = train(whole)
    assert (again.steps, again.resumed_from) == (outcome.steps, outcome.steps)
    assert (again.loss, again.evaluation_loss) == (outcome.loss, outcome.evaluation_loss)


def test_the_folder_of_another_training_is_refused_with_the_difference(
    undisturbed: tuple[TrainingJob, TrainingOutcome],
):
    whole, _ = undisturbed
    with pytest.raises(RunConflictError, match=r"learning_rate: 0\.001 there, 0\.002 now") as refusal:
        train(job(whole.output, learning_rate=2e-3))
    assert "seed" not in str(refusal.value)


def test_checkpoints_of_an_unknown_run_are_refused(tmp_path: Path):
    (tmp_path / "checkpoint-3").mkdir()
    with pytest.raises(RunConflictError, match=r"contains checkpoints but no training\.json"):
        train(job(tmp_path))


def test_of_several_checkpoints_the_last_whole_one_counts(tmp_path: Path):
    whole = '{"log_history": []}'
    for step, state in ((2, whole), (10, whole), (20, '{"epoch": 1'), (30, None), (40, "[]"), (50, "{}")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 10


def shards_failed(failure: BaseException) -> CheckpointException:
    """As torch raises it in every process; the second one's write failed, the first had something else."""
    failures: dict[int, BaseException] = {0: RuntimeError("broken off"), 1: failure}
    return CheckpointException("", {rank: (each, StackSummary()) for rank, each in failures.items()})


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            r"No space left.*Fix: free some space there, then rerun the command to resume",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), r"quota exceeded.*free some space there"),
        (OSError(errno.EROFS, "Read-only file system"), r"Read-only.*give this user write permission there"),
        (shards_failed(OSError(errno.ENOSPC, "No space left on device")), r"No space left.*free some space there"),
    ],
    ids=["full", "quota", "read-only", "full-for-shards"],
)
def test_a_disk_that_takes_nothing_is_named_and_the_fix_told(
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[TrainingJob, TrainingOutcome],
    error: BaseException,
    says: str,
):
    monkeypatch.setattr(trainer, "export_model", raises(error))
    with pytest.raises(StorageError, match=f"can't be written .*{says}"):
        train(undisturbed[0])


@pytest.mark.parametrize(
    "error", [OSError("We couldn't connect to 'https://huggingface.co'"), ConnectionResetError(104, "reset by peer")]
)
@pytest.mark.parametrize("in_shards", [False, True], ids=["alone", "shards"])
def test_other_errors_of_the_system_stay_what_they_are_so_that_the_workers_try_again(
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[TrainingJob, TrainingOutcome],
    error: OSError,
    in_shards: bool,
):
    raised = CheckpointException("", {1: (error, StackSummary())}) if in_shards else error
    monkeypatch.setattr(trainer, "export_model", raises(raised))
    with pytest.raises(type(error)) as found:
        train(undisturbed[0])
    assert found.value is error


def test_examples_that_do_not_fill_a_step_are_refused_with_the_fix(tmp_path: Path):
    with pytest.raises(InputError, match=r"fill \d+ packed sequences of 256 tokens, and a step takes 64\. Fix: lower"):
        train(job(tmp_path, sequences_a_step=64))
