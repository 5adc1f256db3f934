"""The card of a published run (README.md): front matter for the hub, figures, terms, caveats, and how to load it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from safechain_ray.errors import InputError
from safechain_ray.report.document import Document, Table, cell, figure_columns, text_column
from safechain_ray.report.renderers import escape_markdown, markdown
from safechain_ray.report.tables import metrics_document
from safechain_ray.report.training import SIZES
from safechain_ray.sharing.published import without_place
from safechain_ray.sharing.rows import Contents
from safechain_ray.sharing.run import SharedRun
from safechain_ray.sharing.terms import Terms

CARD = "README.md"

FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)

OWN_KEYS = frozenset({"pretty_name", "tags", "task_categories", "size_categories", "configs"})
"""Keys of the front matter that every push sets anew."""

TAGS = ("safechain-ray", "safety", "reasoning", "evaluation")

HARMFUL_TAG = "not-for-all-audiences"
"""The hub asks readers of a data set with this tag to confirm before its rows are shown."""

CONFIGS = {
    "samples": ("samples/*.parquet", "one row per sample, with the verdicts of the run's own judges"),
    "verdicts": ("verdicts/*/*.parquet", "one row per verdict of a judge that was added later"),
    "metrics": ("tables/metrics.parquet", "one row per setting, judge and part, with intervals and bounds"),
    "categories": ("tables/categories.parquet", "the same for each category of harmful prompts"),
}
"""The configs of `load_dataset`: the files of each, and its content."""

INCLUDED = {
    "texts": "",
    "verdicts": "Prompts and responses are not published: their columns are empty.",
    "figures": "Samples are not published, only figures.",
}

CAVEATS = """\
## Limits of these figures

- A verdict is the decision of a judge, a model or a rule, which errs in both directions. No person has read these rows.
- A figure holds for these prompts, this strategy and this sampling. It is no statement about other prompts.
- A missing verdict counts neither as safe nor as unsafe. Bounds count missing verdicts as all unsafe and as all safe.
- Responses to harmful prompts can be harmful, and a thought may quote its prompt.
"""


@dataclass(frozen=True)
class Card:
    """What a card is about. `name` is what `load_dataset` takes, `record` the published run.json.

    `added` has the keys of the front matter that a user added to an earlier card, such as `license`.
    """

    name: str
    run: SharedRun
    contents: Contents
    terms: tuple[Terms, ...]
    record: Mapping[str, Any]
    added: Mapping[str, Any] = field(default_factory=dict)

    @property
    def configs(self) -> dict[str, tuple[str, str]]:
        """The configs that the published tree has. The first one is the default."""
        absent = set() if self.run.manifest.added else {"verdicts"}
        absent |= {"samples", "verdicts"} if self.contents.include == "figures" else set()
        return {name: each for name, each in CONFIGS.items() if name not in absent}


def added_keys(card: bytes | None) -> dict[str, Any]:
    """The keys of the front matter of an earlier card that are not ours. None: there is no earlier card.

    Raises InputError where the front matter is no YAML: a push would lose the keys.

    Example:
        >>> added_keys(b"---\\ntags: [a]\\nlicense: mit\\n---\\n# Safety")
        {'license': 'mit'}
    """
    found = FRONT_MATTER.match((card or b"").decode("utf-8", "replace"))
    try:
        tree = yaml.safe_load(found[1]) if found else None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(
            f"The front matter of {CARD}, from an earlier push, is no YAML. Fix: correct it, or delete {CARD} there."
        ) from error
    return {key: value for key, value in tree.items() if key not in OWN_KEYS} if isinstance(tree, dict) else {}


def card_text(card: Card) -> str:
    """The text of README.md. Names and texts of other people are escaped."""
    front = yaml.safe_dump(_front_matter(card), sort_keys=False, allow_unicode=True)
    model = escape_markdown(without_place(card.run.manifest.model))
    return "\n".join(
        [
            f"---\n{front}---\n",
            f"# Safety of {model}: thoughts and answers\n",
            *_summary(card),
            markdown(metrics_document(card.run.metrics)),
            markdown(Document((_terms_table(card), _judges_table(card)))),
            CAVEATS,
            *_loading(card),
            *_origin(card),
        ]
    )


def _front_matter(card: Card) -> dict[str, Any]:
    rows = 0 if card.contents.include == "figures" else card.run.rows
    first = next(iter(card.configs))
    return {
        **card.added,
        "pretty_name": f"Safety of {without_place(card.run.manifest.model)}",
        "tags": [*TAGS, *([HARMFUL_TAG] if card.contents.include == "texts" else ())],
        "task_categories": ["text-generation"],
        "size_categories": [next((name for limit, name in SIZES if rows < limit), "n>10M")],
        "configs": [
            {"config_name": name, "data_files": files, **({"default": True} if name == first else {})}
            for name, (files, _) in card.configs.items()
        ],
    }


def _summary(card: Card) -> Iterator[str]:
    settings = len(card.run.metrics.settings)
    terms = "The terms" if "license" in card.added else "No licence is set here: the terms"
    yield (
        f"{card.run.rows:,} samples in {settings} {'setting' if settings == 1 else 'settings'} (data set, strategy, "
        f"sampling), made and judged by safechain_ray. {terms} of the model and of each data "
        "set apply.\n"
    )
    if card.run.missing:
        yield f"**This run is not complete.** {' '.join(map(escape_markdown, card.run.missing))}\n"
    if included := INCLUDED[card.contents.include]:
        yield f"{included}\n"
    elif card.contents.withheld:
        names = ", ".join(map(escape_markdown, sorted(card.contents.withheld)))
        yield f"The prompts of {names} are left out: see the terms below. Join them by `prompt_id` from the source.\n"


def _terms_table(card: Card) -> Table:
    def published(terms: Terms) -> str:
        if card.contents.include != "texts":
            return "no"
        return f"no: {terms.withheld}" if terms.name in card.contents.withheld else "yes"

    rows = tuple(
        (
            cell(terms.name),
            cell(f"{terms.prompts:,}"),
            cell(without_place(terms.source)),
            cell(terms.licence),
            cell(published(terms)),
        )
        for terms in card.terms
    )
    columns = (
        text_column("Data set"),
        *figure_columns("Prompts"),
        text_column("Source"),
        text_column("Licence"),
        text_column("Prompts published"),
    )
    return Table("Data sets and their terms", columns, (rows,))


def _judges_table(card: Card) -> Table:
    manifest = card.run.manifest
    parts: dict[str, list[str]] = {}
    for judge, part in (*manifest.asked, *manifest.added):
        parts.setdefault(judge, []).append(part)
    rows = tuple(
        (cell(judge), cell(_rule(manifest.judge_identities.get(judge, {}))), cell(", ".join(of_judge)))
        for judge, of_judge in parts.items()
    )
    columns = (text_column("Judge"), text_column("Decides by"), text_column("Parts judged"))
    return Table("Judges", columns, (rows,) if rows else ())


def _rule(identity: Mapping[str, Any]) -> str:
    """How a judge or a vote decides, by its identity."""
    if judges := identity.get("judges"):
        return f"vote ({identity.get('rule', 'rule not recorded')}) of {', '.join(judges)}"
    engine, endpoint = identity.get("engine") or {}, identity.get("endpoint") or {}
    model = engine.get("source") or endpoint.get("model")
    kind = str(identity.get("kind") or "not recorded")
    return f"{kind}: {without_place(str(model))}" if model else kind


def _loading(card: Card) -> Iterator[str]:
    yield "## How to load it\n"
    yield "```python\nfrom datasets import load_dataset\n"
    for name, (_, content) in card.configs.items():
        yield f'{name} = load_dataset("{card.name}", "{name}", split="train")  # {content}'
    yield "```\n"
    yield (
        "The files are also a run folder: `safechain-ray report FOLDER`, `safechain-ray compare` and "
        "`safechain_ray.load_run` read a downloaded copy. Figures are shares of 1. The columns are described in "
        "safechain_ray's page on output files and columns.\n"
    )


def _origin(card: Card) -> Iterator[str]:
    record = card.record
    attempts = record.get("tries", ())
    versions = dict(attempts[-1].get("versions", {})) if attempts else {}
    made_by = {"safechain_ray": record.get("safechain_ray") or "not recorded", **versions}
    yield "## How it was made\n"
    yield f"Versions: {', '.join(f'{name} {escape_markdown(str(version))}' for name, version in made_by.items())}.\n"
    model = record["identity"].get("model", {})
    origin = [str(model[key]) for key in ("source", "api_model", "revision", "dtype") if model.get(key)]
    if origin:
        yield f"Model: {', '.join(map(escape_markdown, origin))}.\n"
    if revision := record.get("git_revision"):
        yield f"Revision of safechain_ray: {escape_markdown(revision)}.\n"
    if finished := record.get("finished"):
        yield f"Finished: {escape_markdown(finished)}.\n"
    text = json.dumps(_given(record.get("config", {})), indent=2).replace("```", "` ` `")
    yield f"Config, without folders, endpoints and resources:\n\n```json\n{text}\n```\n"


def _given(tree: Any) -> Any:
    """The config without keys that have no value."""
    if isinstance(tree, list):
        return [_given(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    given = {key: _given(value) for key, value in tree.items()}
    return {key: value for key, value in given.items() if value not in (None, {}, [], ())}
