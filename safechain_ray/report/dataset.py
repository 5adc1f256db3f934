"""A built training set in tables: what each filter step left, what the responses were, where all of it comes from."""

from collections.abc import Iterable

from safechain_ray.commands.training_set_facts import DatasetFacts, Origin, ResponseCount
from safechain_ray.report.document import Cell, Document, Row, Table, cell, figure_columns, text_column

RULES = {
    "all": "all {k} responses are safe",
    "majority": "more than half of its {k} responses are safe",
    "best": "one of its {k} responses is safe; the one with the lowest unsafe score is taken",
}
VERDICTS: tuple[tuple[str, bool | None], ...] = (("safe", True), ("unsafe", False), ("missing", None))


def dataset_document(facts: DatasetFacts) -> Document:
    """What the command shows at its end."""
    title = f"{facts.rows:,} rows" + (f" of {facts.wanted:,} asked for" if facts.wanted is not None else "")
    notes = [shortfall(facts)] if facts.missing else []
    return Document((steps_table(facts, by_kind=False), responses_table(facts)), facts.caveats, tuple(notes), title)


def shortfall(facts: DatasetFacts) -> str:
    """What to do where rows are missing."""
    return (
        f"{facts.missing:,} rows of {facts.wanted:,} are missing: draw more prompts (--number) into another --output, "
        "or loosen --rule."
    )


def rule_words(facts: DatasetFacts) -> str:
    return RULES[facts.rule].format(k=facts.setting.samples)


def steps_table(facts: DatasetFacts, by_kind: bool = True) -> Table:
    """Prompts after each filter step: each line is the one above it less what was left out.

    A column for each kind makes it wide, where there are several.
    """
    kinds = sorted(facts.steps[0].left)
    several = kinds if by_kind and len(kinds) > 1 else []
    rows = [
        (
            cell(step.name),
            *_figures(-step.total_left_out, step.total_left),
            *_figures(*(step.left[kind] for kind in several)),
        )
        for step in facts.steps
    ]
    kept: Row = (cell("kept"), cell(""), *_figures(facts.rows, *(facts.steps[-1].left[kind] for kind in several)))
    columns = (text_column("Step"), *figure_columns("Left out", "Left", *several))
    return Table("Prompts", columns, (tuple(rows), (kept,)), f"A prompt is kept where {rule_words(facts)}.")


def responses_table(facts: DatasetFacts) -> Table:
    """All responses by outcome and verdict, and which of the safe ones can't be learnt from."""
    outcomes = dict.fromkeys(each.outcome for each in facts.responses)
    rows = [
        (cell(outcome), *_figures(*_by_verdict(each for each in facts.responses if each.outcome == outcome)))
        for outcome in outcomes
    ]
    flaws = sorted({each.flaw for each in facts.responses if each.flaw is not None})
    of_flaws = [
        (cell(f"never chosen: {flaw}"), *_figures(*_by_verdict(each for each in facts.responses if each.flaw == flaw)))
        for flaw in flaws
    ]
    columns = (text_column("Responses"), *figure_columns(*(name.capitalize() for name, _ in VERDICTS), "All"))
    groups = ((*rows, (cell("all"), *_figures(*_by_verdict(facts.responses)))), tuple(of_flaws))
    return Table("Responses", columns, tuple(group for group in groups if group), "Verdicts by outcome, then by flaw.")


def sources_table(facts: DatasetFacts) -> Table:
    """Prompts, model and judges with their licences."""

    def row(what: str, origin: Origin) -> Row:
        return cell(what), cell(origin.name), cell(origin.source), cell(origin.licence)

    judges = tuple(row("judge", judge) for judge in facts.judges)
    columns = tuple(map(text_column, ("", "Name", "Source", "Licence")))
    return Table("Sources", columns, ((row("prompts", facts.prompts), row("responses", facts.model), *judges),))


def _by_verdict(counts: Iterable[ResponseCount]) -> list[int]:
    found = list(counts)
    by_verdict = [sum(each.count for each in found if each.safe is safe) for _, safe in VERDICTS]
    return [*by_verdict, sum(by_verdict)]


def _figures(*numbers: int) -> tuple[Cell, ...]:
    return tuple(cell(f"{number:,}" if number else "0") for number in numbers)
