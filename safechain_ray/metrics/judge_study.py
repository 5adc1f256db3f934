"""What a judge study came to: how each judge, and each vote over them, agrees with human labels."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from safechain_ray.catalog.published import Pilot
from safechain_ray.metrics.agreement import Agreement, agreement
from safechain_ray.types import Verdict


class Rater(BaseModel):
    """A judge, or a vote over all judges of the study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    is_vote: bool
    agreement: Agreement


class JudgeStudy(BaseModel):
    """`rows` labelled responses, `unsafe` of them by their labels; judges in their order, then the votes.

    `disagreements` counts the rows on which some judge differs from the label or has no verdict. `published` is the
    paper's pilot, over other responses. `differs` says, by the name of a judge here that has a published counterpart,
    why the two are not the same judge.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    source: str
    rows: int
    unsafe: int
    raters: tuple[Rater, ...]
    disagreements: int
    caveats: tuple[str, ...]
    published_by: str
    published: Pilot
    differs: Mapping[str, str] = {}

    @property
    def missing_verdicts(self) -> int:
        """Verdicts that judges could not give."""
        return sum(rater.agreement.missing for rater in self.raters if not rater.is_vote)


def rate(
    labels: Sequence[bool], judges: Mapping[str, Sequence[Verdict]], votes: Mapping[str, Sequence[bool | None]]
) -> tuple[Rater, ...]:
    """Each judge, then each vote, against the labels; all sequences are of the same rows in the same order."""
    rated = [
        Rater(
            name=name,
            is_vote=False,
            agreement=agreement([verdict.unsafe for verdict in verdicts], labels, _scores(verdicts)),
        )
        for name, verdicts in judges.items()
    ]
    rated += [Rater(name=name, is_vote=True, agreement=agreement(column, labels)) for name, column in votes.items()]
    return tuple(rated)


def _scores(verdicts: Sequence[Verdict]) -> list[float | None] | None:
    """None for a judge that gives none."""
    scores = [verdict.score for verdict in verdicts]
    return scores if any(score is not None for score in scores) else None
