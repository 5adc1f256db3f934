"""The catalog as tables: models, those behind APIs, data sets, training sets, benchmarks, judges, strategies."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

from safechain_ray import catalog
from safechain_ray.catalog.entries import ApiEntry, EngineNeeds, ModelEntry
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.catalog.parallelism import ParallelSizes
from safechain_ray.catalog.row_entries import RowsEntry
from safechain_ray.catalog.sources import BUILT_IN, VARIABLE, Section, user_catalog
from safechain_ray.cluster.gpu_fit import Gpus, fit_engine
from safechain_ray.decoding.base import STRATEGIES, strategies
from safechain_ray.errors import PlanError
from safechain_ray.likely_keys import redact_prefixed_keys
from safechain_ray.report.document import escape
from safechain_ray.storage import without_secrets

Row = dict[str, Any]


def _models() -> list[Row]:
    """Models with an engine, then those behind APIs."""
    rows = [_model(entry) for entry in catalog.models().values()]
    return rows + [dict.fromkeys(rows[0]) | _api_model(entry) for entry in catalog.api_models().values()]


def _model(entry: ModelEntry) -> Row:
    return {
        **_any_model(entry),
        "revision": entry.revision,
        "parameters (B)": entry.parameters,
        "active (B)": entry.active_parameters,
        **_engine(entry),
    }


def _api_model(entry: ApiEntry) -> Row:
    return _any_model(entry) | {"api": next(row for row in _apis() if row["name"] == entry.name)}


def _any_model(entry: ModelEntry | ApiEntry) -> Row:
    family = catalog.families().get(entry.family)  # None for a wrong one: other models are listed
    tags = None if family is None else family.tags
    return {
        "name": entry.name,
        "source": entry.source,
        "api": None,
        "family": entry.family if family is not None else f"{entry.family} (unknown)",
        "context": entry.context_length,
        "thought apart": tags is not None,
        "tags": tags and {"open": tags.open, "close": tags.close},
        "system prompt": family and family.system_prompt,
        "source of the prompt": family and family.source,
        "gated": entry.gated,
        "access": entry.access,
        "licence": entry.licence,
        "description": entry.description,
        "caveat": entry.caveat,
    }


def _engine(needs: EngineNeeds) -> Row:
    sizes = {gigabytes: _sizes_on(needs, gigabytes) for gigabytes in (80, 48, 24)}
    return {
        "dtype": needs.dtype,
        "weights dtype": needs.weights_dtype or needs.dtype,
        "weights (GB)": round(needs.weight_gigabytes, 1),
        "GPUs": needs.gpus,
        **{f"parallel on {gigabytes} GB": _parallel(size) for gigabytes, size in sizes.items()},
        **{f"GPUs of {gigabytes} GB": size and size.gpus for gigabytes, size in sizes.items()},
    }


def _sizes_on(needs: EngineNeeds, gigabytes: int) -> ParallelSizes | None:
    """None for a model that does not fit: the other models of the catalog are listed."""
    try:
        return fit_engine(needs, Gpus(gigabytes)).sizes
    except PlanError:
        return None


def _parallel(sizes: ParallelSizes | None) -> dict[str, int] | None:
    if sizes is None:
        return None
    return {"tensor": sizes.tensor_parallel_size, "pipeline": sizes.pipeline_parallel_size}


def _apis() -> list[Row]:
    return [
        {
            "name": entry.name,
            "model": entry.api_model,
            "endpoint": entry.base_url,
            "key": entry.api_key_env,
            "$/M in": entry.prices and entry.prices.input,
            "$/M out": entry.prices and entry.prices.output,
            "at once": entry.max_concurrent,
            "description": entry.description,
            "caveat": entry.caveat,
        }
        for entry in catalog.api_models().values()
    ]


def _datasets() -> list[Row]:
    return _row_sets(catalog.datasets().values())


def _responses() -> list[Row]:
    return _row_sets(catalog.responses().values())


def _training_sets() -> list[Row]:
    return _row_sets(catalog.training_sets().values())


def _row_sets(entries: Iterable[RowsEntry]) -> list[Row]:
    return [
        {
            "name": entry.name,
            "source": entry.source,
            "config": entry.config,
            "revision": entry.revision,
            "rows": entry.rows,
            "gated": entry.gated,
            "licence": entry.licence,
            "description": entry.description,
        }
        for entry in entries
    ]


def _benchmarks() -> list[Row]:
    return [
        {
            "name": entry.name,
            "grader": entry.grader,
            "styles": ", ".join(["default", *entry.styles]),
            "source": entry.source,
            "config": entry.config,
            "split": entry.split,
            "revision": entry.revision,
            "problems": entry.rows,
            "columns": list(entry.columns),
            "prompt": entry.prompt,
            "source of the prompt": entry.prompt_source,
            "max tokens": entry.max_tokens,
            "repetition penalty": entry.repetition_penalty,
            "gated": entry.gated,
            "licence": entry.licence,
            "description": entry.description,
            "caveat": entry.caveat,
        }
        for entry in catalog.benchmarks().values()
    ]


def _judges() -> list[Row]:
    return [
        {
            "name": entry.name,
            "kind": entry.kind,
            "model": _judge_model(entry),
            "revision": entry.engine.revision if entry.engine else None,
            "GPUs": entry.engine.gpus if entry.engine else None,
            "context": entry.engine.context_length if entry.engine else None,
            "endpoint": entry.endpoint.base_url if entry.endpoint else None,
            "source of the prompt": entry.prompt_source or None,
            "gated": entry.gated,
            "access": entry.access,
            "licence": entry.licence,
            "description": entry.description,
            "caveat": entry.caveat,
        }
        for entry in catalog.judges().values()
    ]


def _judge_model(entry: JudgeEntry) -> str | None:
    if entry.engine is not None:
        return entry.engine.source
    return entry.endpoint.model if entry.endpoint else None


def _families() -> list[Row]:
    return [
        {
            "name": name,
            "thought apart": family.tags is not None,
            "tags": family.tags and f"{family.tags.open} {family.tags.close}",
            "system prompt": family.system_prompt,
            "source": family.source,
        }
        for name, family in catalog.families().items()
    ]


def _strategies() -> list[Row]:
    return [
        {"name": name, "needs thinking tags": entry.needs_tags, "description": entry.description}
        for name, entry in strategies().items()
    ]


@dataclass(frozen=True, slots=True)
class Listing:
    """One kind of catalog entry: its rows, and how a terminal shows them.

    `columns` are the figures of each entry with their headings; `about` are its texts, for a second table.
    """

    rows: Callable[[], list[Row]]
    columns: Mapping[str, str]
    sections: tuple[Section, ...]
    about: tuple[str, ...] = ()


ROW_COLUMNS = {"rows": "rows", "gated": "gated"}
ROW_TEXTS = ("source", "licence", "description")

LISTINGS: Mapping[str, Listing] = {
    "models": Listing(
        _models,
        {
            "parameters (B)": "size in\nbillions",
            "GPUs of 80 GB": "GPUs\nof 80 GB",
            "GPUs of 48 GB": "or\nof 48 GB",
            "thought apart": "separate\nthought",
            "gated": "gated",
        },
        ("models", "api_models"),
        ("source", "licence", "description"),
    ),
    "apis": Listing(
        _apis,
        {"key": "key from", "$/M in": "$/M in", "$/M out": "$/M out"},
        ("api_models",),
        ("model", "endpoint", "description"),
    ),
    "datasets": Listing(_datasets, ROW_COLUMNS, ("datasets",), ROW_TEXTS),
    "responses": Listing(_responses, ROW_COLUMNS, ("responses",), ROW_TEXTS),
    "training-sets": Listing(_training_sets, ROW_COLUMNS, ("training_sets",), ROW_TEXTS),
    "benchmarks": Listing(
        _benchmarks,
        {
            "grader": "grader",
            "styles": "styles",
            "problems": "problems",
            "repetition penalty": "repetition\npenalty",
        },
        ("benchmarks",),
        ("source", "licence", "description"),
    ),
    "judges": Listing(
        _judges,
        {"kind": "kind", "GPUs": "GPUs", "context": "context", "gated": "gated"},
        ("judges",),
        ("model", "licence", "description"),
    ),
    "strategies": Listing(
        _strategies, {"needs thinking tags": "needs thinking tags"}, ("strategies",), ("description",)
    ),
    "families": Listing(_families, {"thought apart": "separate thought"}, ("families",), ("tags", "source")),
}


def entries(kind: str) -> list[Row]:
    """The catalog entries of a kind, one mapping an entry. `entry` has the fields of its YAML, but for some remarks."""
    rows = [
        row | {"from": _origin(kind, row["name"]), "entry": _fields(kind, row["name"])} for row in LISTINGS[kind].rows()
    ]
    return [without_secrets(row) for row in rows]


def _fields(kind: str, name: str) -> Row | None:
    found = (catalog.entry_of(section, name) for section in LISTINGS[kind].sections)
    entry = next((entry for entry in found if entry is not None), None)
    return None if entry is None else redact_prefixed_keys(entry.model_dump(mode="json", exclude_unset=True))


def _origin(kind: str, name: str) -> str:
    """File and line of an entry from outside the package, or `built-in`."""
    sections = LISTINGS[kind].sections
    places = (catalog.origin_of(section, name).place for section in sections)
    return next((place for place in places if place != BUILT_IN.place), BUILT_IN.place)


def entries_from_outside() -> list[Row]:
    """Each entry from outside the package: its section, name and place, and what it replaces."""
    return [
        {
            "section": section,
            "name": name,
            "from": origin.place,
            "replaces": origin.replaces or _built_in(section, name),
        }
        for section, name, origin in catalog.from_outside()
    ]


def _built_in(section: Section, name: str) -> str | None:
    """The origin of a built-in strategy that an entry replaces."""
    return BUILT_IN.place if section == "strategies" and name in STRATEGIES else None


def print_sources(console: Console) -> None:
    """The table of `entries_from_outside`."""
    rows = entries_from_outside()
    files = ", ".join(escape(file.label) for file in user_catalog().files)
    if not rows and files:
        console.print(
            f"No entries in {files}: all entries are built-in. Fix: add entries below a section (docs/extending.md)."
        )
        return
    if not rows:
        console.print(f"All entries are built-in. Add your own with --catalog or {VARIABLE} (docs/extending.md).")
        return
    table = Table("section", Column("name", no_wrap=True), Column("from", overflow="fold"), box=box.SIMPLE_HEAD)
    for row in rows:
        replaced = f"\n(replaces the entry of {row['replaces']})" if row["replaces"] else ""
        table.add_row(row["section"], escape(row["name"]), f"{escape(row['from'])}{replaced}")
    console.print(table)


def print_entries(kind: str, console: Console, source: bool = False) -> None:
    """A table of figures, then one of texts: 80 columns have no room for both in one. `source` adds the origins."""
    listing, rows = LISTINGS[kind], entries(kind)
    texts = (*listing.about, "from") if source else listing.about
    figures = Table(Column("name", no_wrap=True), box=box.SIMPLE_HEAD, pad_edge=False)
    for key, heading in listing.columns.items():
        is_number = any(type(row[key]) in (int, float) for row in rows)
        figures.add_column(heading, justify="right" if is_number else "left", vertical="bottom")
    about = Table(Column("name", no_wrap=True), Column("about", overflow="fold"), box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        figures.add_row(escape(row["name"]), *(_cell(row[key]) for key in listing.columns))
        about.add_row(escape(row["name"]), "\n".join(escape(row[key]) for key in texts if row[key]))
    console.print(figures, about, sep="")
    if any(row.get("gated") for row in rows):
        console.print("gated: accept the licence on its page of the Hugging Face hub, then set HF_TOKEN.")
    console.print("All fields of each entry: --json.")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
