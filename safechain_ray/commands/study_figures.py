"""From labels and verdicts to a judge study's figures, its votes, and the rows that are worth reading."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.catalog.published import Pilot, published_figures
from safechain_ray.datasets.labelled import LabelledResponse, LabelledSet
from safechain_ray.judges.refusal_match import phrases_fingerprint, read_phrases
from safechain_ray.judges.vote import Vote, count_votes
from safechain_ray.metrics.judge_study import JudgeStudy, rate
from safechain_ray.types import Verdict, VoteRule


def measure(
    labelled: LabelledSet,
    judges: Sequence[JudgeEntry],
    rules: Sequence[VoteRule],
    verdicts: Sequence[Mapping[str, Verdict]],
) -> tuple[JudgeStudy, pa.Table]:
    """The study's figures, and the rows on which a judge differs from the label or has no verdict.

    `verdicts` has a mapping from judge to verdict for each labelled response, in their order.
    """
    names = [judge.name for judge in judges]
    labels = [each.unsafe for each in labelled.responses]
    columns = {name: [row[name] for row in verdicts] for name in names}
    decided = {name: [verdict.unsafe for verdict in column] for name, column in columns.items()}
    votes = {
        vote.name: [count_votes(vote, "response", tuple(row.values())).unsafe for row in verdicts]
        for vote in (Vote(f"vote-{rule}", rule, tuple(names)) for rule in rules)
    }
    differing = [row for row, label in enumerate(labels) if any(decided[name][row] is not label for name in names)]
    published = published_figures()
    done = JudgeStudy(
        data=labelled.name,
        source=labelled.source,
        rows=len(labels),
        unsafe=sum(labels),
        raters=rate(labels, columns, votes),
        disagreements=len(differing),
        caveats=tuple(dict.fromkeys(judge.caveat for judge in judges if judge.caveat)),
        published_by=published.source,
        published=published.pilot,
        differs=_not_the_published(judges, published.pilot),
    )
    return done, _rows_to_read(labelled.responses, columns, votes, differing)


def _not_the_published(judges: Sequence[JudgeEntry], pilot: Pilot) -> dict[str, str]:
    """Why a judge differs from its published counterpart, by name; judges that do not differ are absent."""
    by_name = {each.judge: (name, each) for name, each in pilot.judges.items()}
    differs = {}
    for judge in judges:
        name, published = by_name.get(judge.name, ("", None))
        if published is None:
            continue
        if published.phrases is not None and phrases_fingerprint(read_phrases(judge.phrases)) != published.phrases:
            whose = "this project's phrases" if judge.phrases is None else "the phrases of a file"
            differs[judge.name] = f"{whose}, not those of {name} in the published code"
        if published.model is not None and judge.endpoint is not None and judge.endpoint.model != published.model:
            differs[judge.name] = f"model {judge.endpoint.model}, not {published.model}"
    return differs


def _rows_to_read(
    responses: Sequence[LabelledResponse],
    columns: Mapping[str, Sequence[Verdict]],
    votes: Mapping[str, Sequence[bool | None]],
    rows: Sequence[int],
) -> pa.Table:
    """One line a row: what was judged, what people said, and what each judge and each vote did."""
    table: dict[str, pa.Array] = {
        "row": pa.array([responses[row].row for row in rows], pa.int64()),
        "prompt": pa.array([responses[row].prompt for row in rows], pa.string()),
        "response": pa.array([responses[row].response for row in rows], pa.string()),
        "label": pa.array([_word(responses[row].unsafe) for row in rows], pa.string()),
    }
    for name, verdicts in columns.items():
        held = [verdicts[row] for row in rows]
        table[f"{name} verdict"] = pa.array([_word(verdict.unsafe) for verdict in held], pa.string())
        table[f"{name} score"] = pa.array([verdict.score for verdict in held], pa.float64())
        table[f"{name} categories"] = pa.array([list(verdict.categories) for verdict in held], pa.list_(pa.string()))
        table[f"{name} error"] = pa.array([verdict.error for verdict in held], pa.string())
    for name, outcomes in votes.items():
        table[name] = pa.array([_word(outcomes[row]) for row in rows], pa.string())
    return pa.table(table)


def _word(unsafe: bool | None) -> str | None:
    return None if unsafe is None else "unsafe" if unsafe else "safe"
