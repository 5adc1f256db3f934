"""A training set: prompts drawn and asked as in any run, judged, then one response chosen of each that is kept."""

import json
from dataclasses import dataclass
from itertools import chain
from typing import Any

from safechain_ray.commands.draw import DrawnPrompts, draw_for
from safechain_ray.commands.evaluate import Evaluation, finish, open_run
from safechain_ray.commands.training_set_facts import DatasetFacts, facts_of
from safechain_ray.commands.training_set_folder import DatasetRecord, write_rows
from safechain_ray.config import BuildConfig
from safechain_ray.curation.rows import SAMPLE_COLUMNS, RowFormat
from safechain_ray.curation.selection import COLUMNS, Selection, judged_samples, select
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError
from safechain_ray.runs.output import held_output
from safechain_ray.runs.progress import Observer
from safechain_ray.runs.resolve import ResolvedRun, as_stored, resolve, resolve_names
from safechain_ray.storage import Folder, without_secrets
from safechain_ray.types import short_hash


@dataclass(frozen=True, slots=True)
class Building:
    """How it ended: the data set's folder, what it holds, and the run that gave the responses."""

    folder: Folder
    facts: DatasetFacts
    config: BuildConfig
    run: Evaluation


def build_dataset(config: BuildConfig, observer: Observer, start_engine: StartEngine) -> Building:
    """Build the training set of `config`, going on where an earlier try was cut off.

    Leaves data/train-*.parquet and dataset.json in its folder, the responses in `run` there. Raises what `evaluate`
    raises; before anything starts InputError for prompts that can't be read and for a model without thinking tags.
    """
    named = resolve_names(config.run_config())
    if named.family.tags is None:
        raise InputError(
            f"Models of family {named.family.name!r} write no thinking tags: of {named.model.name} there is no thought "
            "to learn from. Name another model."
        )
    drawn = draw_for(config)
    run = resolve(config.run_config(), {drawn.prompts.name: drawn.prompts})
    identity = _identity(config, drawn, run)
    digest = short_hash(json.dumps(identity, sort_keys=True), characters=8)
    output = config.output or f"runs/dataset-{drawn.prompts.name}-{run.model.name}-{digest}"
    with held_output(output, config.resources, observer) as held:
        record = DatasetRecord.opened(held.folder, identity, without_secrets(config.model_dump(mode="json")))
        wanted = config.prompts.number
        if wanted is not None and len(drawn.prompts.prompts) < wanted:
            observer.say(f"Only {len(drawn.prompts.prompts):,} prompts of {wanted:,} could be drawn.")
        with open_run(config.run_config(output), run, observer) as opened:
            done = finish(opened, observer, start_engine)
        observer.say("Choosing the responses to keep.")
        selection = _selected(config, run, done)
        judges = tuple(judge.name for judge in run.judges)
        rows = RowFormat(judges, config.part, config.samples, config.answers_only)
        samples = done.folder.counted_samples(SAMPLE_COLUMNS)
        files = write_rows(samples, selection.chosen, rows, held.folder / "data")
        facts = facts_of(config, drawn, run, selection, files)
        record.finished(facts.model_dump(mode="json"))
        return Building(held.folder, facts, config, done)


def _identity(config: BuildConfig, drawn: DrawnPrompts, run: ResolvedRun) -> dict[str, Any]:
    """What changes the rows. They hold thoughts and answers also where only whole responses are judged."""
    selection = {"rule": config.rule, "seed": config.seed, "rows": config.rows, "answers_only": config.answers_only}
    return as_stored({"draw": drawn.identity, "run": run.identity() | run.reading_mark, "selection": selection})


def _selected(config: BuildConfig, run: ResolvedRun, done: Evaluation) -> Selection:
    judges = [judge.name for judge in run.judges]
    tables = done.folder.counted_samples(COLUMNS)
    judged = chain.from_iterable(judged_samples(table, judges, config.part) for table in tables)
    return select(judged, config.samples, config.rule, config.seed, config.rows)
