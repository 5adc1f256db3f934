"""The data of a planned training: its rows, its bad rows, and its tokens if counting them is cheap."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from safechain_ray.commands.finetune.resolve import Trainee, UnreadHubError, read_training_set, tokenise_set
from safechain_ray.config import FinetuneConfig
from safechain_ray.datasets.training_sets import TrainingSet
from safechain_ray.errors import InputError
from safechain_ray.training.tokens import TokenCounts

TOKENS_COUNTED = 5_000
"""Most demonstrations whose tokens a plan counts, which takes seconds; 40,000 long ones take minutes."""


@dataclass(frozen=True, slots=True)
class DataPlan:
    """The data of a training as far as a plan reads it; `refusal` is why it can't be trained on.

    `learnt` and `held_out` are None if the tokens were not counted; `notes` then give the reason.
    """

    source: str | None = None
    rows: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    demonstrations: int | None = None
    rows_left_out: Mapping[str, int] = field(default_factory=dict)
    learnt: TokenCounts | None = None
    held_out: TokenCounts | None = None
    notes: tuple[str, ...] = ()
    refusal: str | None = None


def plan_data(config: FinetuneConfig, trainee: Trainee) -> DataPlan:
    """Read the training set, and count its tokens where it is small. What is wrong with it is the plan's `refusal`."""
    try:
        source = read_training_set(config.training_set, trainee)
    except UnreadHubError as error:
        return DataPlan(notes=(f"The training set was not read, but the training needs it. {error}",))
    except InputError as error:
        return DataPlan(refusal=str(error))
    if len(source.demonstrations) > TOKENS_COUNTED:
        return _planned(source, f"Tokens are not counted in a plan of more than {TOKENS_COUNTED:,} demonstrations.")
    try:
        lessons = tokenise_set(config, trainee, source)
    except UnreadHubError as error:
        return _planned(source, f"Tokens were not counted, because the model's tokenizer could not be loaded. {error}")
    except InputError as error:
        return _planned(source, refusal=str(error))
    held_out = None if lessons.held_out is None else lessons.held_out.counts
    return _planned(source, learnt=lessons.learnt.counts, held_out=held_out)


def _planned(
    source: TrainingSet,
    note: str | None = None,
    *,
    learnt: TokenCounts | None = None,
    held_out: TokenCounts | None = None,
    refusal: str | None = None,
) -> DataPlan:
    return DataPlan(
        source.source,
        source.rows,
        source.columns,
        len(source.demonstrations),
        source.left_out,
        learnt,
        held_out,
        () if note is None else (note,),
        refusal,
    )
