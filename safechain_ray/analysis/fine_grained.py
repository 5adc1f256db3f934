"""The fine-grained analysis of a whole run as one tree of frozen models, which is `analysis.json`."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.analysis.first_unsafe import FirstUnsafe, first_unsafe
from safechain_ray.analysis.lengths import LengthComparison, length_comparison
from safechain_ray.analysis.outcomes import OutcomesByVerdict, outcomes_by_verdict
from safechain_ray.analysis.over_refusal import OverRefusal, is_benign, over_refusal
from safechain_ray.analysis.rows import Asked, SettingRows
from safechain_ray.analysis.sample_count import SampleCountCurve, sample_count_curve
from safechain_ray.analysis.thought_answer import ThoughtAnswer, thought_answer
from safechain_ray.metrics.refusals import REFUSAL_RULE
from safechain_ray.metrics.summary import SettingFacts
from safechain_ray.types import Part, Setting

LENGTHS: tuple[Part, ...] = ("thought", "answer")
"""What is measured in tokens."""

CLUSTERED = (
    "Samples of one prompt are not independent: Mann-Whitney's p takes them as if they were, the clustered p and the "
    "intervals don't. No p is corrected for how many comparisons there are."
)
REFUSAL_IN_THOUGHT = (
    "A refusal phrase anywhere in a response counts as a refusal, also in its thought. `safechain-ray judge RUN "
    "--judge {judge} --part answer` adds the answers alone."
)

NO_REFUSAL = (
    "{judge} calls every thought without a refusal phrase unsafe: read its thoughts as refusing and not refusing."
)


class SettingAnalysis(SettingFacts):
    """One setting. A part of the analysis that has nothing to rest on is empty.

    All but `over_refusal` is of the samples of harmful prompts, `harmful_rows` of all `rows`.
    """

    rows: int
    harmful_rows: int | None = Field(None, description="null in files of earlier versions, which pooled all prompts")
    thought_answer: tuple[ThoughtAnswer, ...] = Field(description="one a judge that judged thought and answer")
    lengths: tuple[LengthComparison, ...]
    sample_counts: tuple[SampleCountCurve, ...] = Field(description="one a judge and part, where K is above 1")
    outcomes: tuple[OutcomesByVerdict, ...]
    over_refusal: tuple[OverRefusal, ...] = Field(description="where the data set has benign prompts")
    first_unsafe: tuple[FirstUnsafe, ...] = Field(description="one a judge that was given thoughts in pieces")


class FineGrained(BaseModel):
    """Every setting of one model. `notes` say how to read the figures, and what adds those that are not there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    caveats: tuple[str, ...] = ()
    notes: tuple[str, ...]
    settings: tuple[SettingAnalysis, ...]


def analyse_setting(
    setting: Setting,
    rows: SettingRows,
    asked: Asked,
    refusal_judges: Sequence[str],
    benign: Sequence[str],
    pieces: pa.Table,
) -> SettingAnalysis:
    """All of the analysis that the rows of one setting allow.

    `refusal_judges` are those whose safe verdicts are refusals, `benign` the categories of prompts that should not be
    refused; `pieces` has POSITION_COLUMNS, of any settings, on samples of harmful prompts.
    """
    everything = rows
    rows = everything.only(~is_benign(everything, benign))
    refusals = [
        over_refusal(everything, judge, part, benign)
        for judge, part in everything.verdicts
        if judge in refusal_judges and part != "thought"  # a thought that weighs a refusal is none
    ]
    return SettingAnalysis(
        **dict(SettingFacts.of(setting)),
        rows=len(everything),
        harmful_rows=len(rows),
        thought_answer=tuple(thought_answer(rows, judge) for judge in judges_of_both(asked)),
        lengths=tuple(
            comparison
            for judge, part in asked
            for tokens_of in LENGTHS
            if (comparison := length_comparison(rows, judge, part, tokens_of)).left_out < len(rows)
        ),
        sample_counts=tuple(sample_count_curve(rows, *pair) for pair in asked if setting.samples > 1),
        outcomes=tuple(outcomes_by_verdict(rows, *pair) for pair in asked),
        over_refusal=tuple(each for each in refusals if each is not None),
        first_unsafe=tuple(first_unsafe(setting.setting_id, len(rows), setting.samples, pieces)),
    )


def judges_of_both(asked: Asked) -> list[str]:
    """The judges that were asked of thoughts and of answers, in order."""
    return [judge for judge, part in asked if part == "thought" and (judge, "answer") in asked]


def notes(
    settings: Sequence[SettingAnalysis], asked: Asked, refusal_judges: Sequence[str], thinks: bool
) -> Iterator[str]:
    """What a reader has to know. `thinks` says whether models of the family write thinking tags."""
    if not thinks:
        yield "Models of this family write no thinking tags: thought and answer can't be told apart."
    elif not judges_of_both(asked):
        yield (
            "No judge has looked at thoughts and at answers apart. `safechain-ray judge RUN --judge J --part thought "
            "--part answer` adds that; nothing is generated again."
        )
    if any(setting.lengths for setting in settings):
        yield CLUSTERED
    for judge in judges_of_both(asked):
        if judge in refusal_judges:
            yield NO_REFUSAL.format(judge=judge)
    in_thoughts = {each.judge for setting in settings for each in setting.over_refusal if each.part == "response"}
    for judge in sorted(in_thoughts - {judge for judge, part in asked if part == "answer"} if thinks else ()):
        yield REFUSAL_IN_THOUGHT.format(judge="refusal-match" if judge == REFUSAL_RULE else judge)
