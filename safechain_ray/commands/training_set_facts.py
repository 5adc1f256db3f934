"""What a built training set is, in figures and names: counts of every step, sources, the rule, the seed."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from safechain_ray.catalog.entries import Entry
from safechain_ray.commands.draw import DrawnPrompts
from safechain_ray.config import BuildConfig
from safechain_ray.curation.selection import Selection
from safechain_ray.curation.steps import Step, count_steps
from safechain_ray.runs.resolve import ResolvedRun
from safechain_ray.storage import redact
from safechain_ray.types import KeepRule, Outcome, Part, Setting


class Origin(BaseModel):
    """Something that the data set is made from or by, as the catalog knows it."""

    model_config = ConfigDict(frozen=True)

    name: str
    source: str
    licence: str
    description: str = ""


class ResponseCount(BaseModel):
    """How many samples had this outcome, were safe or not (None: a verdict is missing), and had this flaw."""

    model_config = ConfigDict(frozen=True)

    outcome: Outcome
    safe: bool | None
    flaw: str | None
    count: int


class DatasetFacts(BaseModel):
    """What a finished data set is: `rows` of `wanted` (None: all there are), and how they came about."""

    model_config = ConfigDict(frozen=True)

    rows: int
    wanted: int | None
    steps: tuple[Step, ...]
    responses: tuple[ResponseCount, ...]
    prompts: Origin
    model: Origin
    judges: tuple[Origin, ...]
    setting: Setting
    part: Part
    rule: KeepRule
    seed: int
    answers_only: bool
    evaluation_sets: tuple[str, ...]
    similarity: float | None
    caveats: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Rows that are wanted and not there."""
        return max(0, (self.wanted or 0) - self.rows)


def facts_of(
    config: BuildConfig, drawn: DrawnPrompts, run: ResolvedRun, selection: Selection, files: Sequence[str]
) -> DatasetFacts:
    """What the rows in `files`, which were selected of the run's responses, are."""
    entries: tuple[Entry, ...] = (drawn.entry, run.model, *run.judges)
    overlaps = config.drop_near_duplicates or bool(config.decontaminate)
    return DatasetFacts(
        rows=len(selection.chosen),
        wanted=config.rows,
        steps=count_steps(drawn.draw.rows, [*drawn.left_out(), *selection.left_out.items()]),
        responses=tuple(
            ResponseCount(outcome=outcome, safe=safe, flaw=flaw, count=count)
            for (outcome, safe, flaw), count in sorted(selection.responses.items(), key=repr)
        ),
        prompts=_origin(drawn.entry, drawn.prompts.source),
        model=_origin(run.model, run.model.source),
        judges=tuple(_origin(judge, judge.kind) for judge in run.judges),
        setting=run.settings[0],
        part=config.part,
        rule=config.rule,
        seed=config.seed,
        answers_only=config.answers_only,
        evaluation_sets=tuple(drawn.evaluation),
        similarity=config.similarity if overlaps else None,
        caveats=tuple(dict.fromkeys(entry.caveat for entry in entries if entry.caveat)),
        files=tuple(f"data/{name}" for name in files),
    )


def _origin(entry: Entry, source: str) -> Origin:
    return Origin(name=entry.name, source=redact(source), licence=entry.licence, description=entry.description)
