"""The rows of stored responses, read before a run is made of them: columns, prompts, K, and a hash of all texts.

Memory grows with the number of prompts, not with the length of the texts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from safechain_ray import catalog
from safechain_ray.catalog.row_entries import ResponsesEntry, RowsEntry
from safechain_ray.config import ImportConfig
from safechain_ray.datasets.adhoc import adhoc_entry, with_subset
from safechain_ray.datasets.labelled import check_meaning, folded
from safechain_ray.datasets.loading import or_correct, refuse_category
from safechain_ray.datasets.responses import ResponseColumns, RowResponses, find_columns, read_row
from safechain_ray.datasets.row_stream import RowStream
from safechain_ray.errors import InputError
from safechain_ray.types import short_hash

MOST_PROBLEMS = 5
"""Most rows that an error lists."""

MOST_LABELS = 1000
"""Distinct labels that are kept, to find out what they mean. Labels of --unsafe-label are always kept."""


@dataclass
class PromptNumbers:
    """The ids of prompts.

    A text has one id. The rows of an id have one text; a row with another text gets an id of its own and a problem.
    """

    texts: dict[str, str] = field(default_factory=dict)

    def claim(self, row: RowResponses, number: int) -> tuple[str, str | None]:
        """The prompt's id for row `number`, and the problem of the row."""
        own_id = f"row-{number}-{short_hash('row without an id', number, characters=6)}"
        if row.problem is not None:
            return own_id, row.problem
        text = short_hash(row.prompt, characters=12)
        prompt_id = row.prompt_id or text
        if self.texts.setdefault(prompt_id, text) == text:
            return prompt_id, None
        return own_id, f"its id {prompt_id[:40]!r} has another prompt in an earlier row"


@dataclass(frozen=True)
class StoredResponses:
    """All facts about the rows of a source that are known before the first sample is written."""

    stream: RowStream
    columns: ResponseColumns
    unsafe_labels: frozenset[str]
    rows: int
    responses: Mapping[str, int]
    categories: Mapping[str, int]
    fingerprint: str

    @property
    def samples(self) -> int:
        return sum(self.responses.values())

    @property
    def most_responses(self) -> int:
        """K: most responses to one prompt."""
        return max(self.responses.values())

    def each(self) -> Iterator[tuple[RowResponses, str, str | None]]:
        """Each row, with the id of its prompt and its problem.

        Raises InputError, after the last row, if the source has changed since it was read before.
        """
        numbers, digest = PromptNumbers(), RowsDigest()
        for number, row in _rows(self.stream, self.columns, self.unsafe_labels):
            prompt_id, problem = numbers.claim(row, number)
            digest.add(row, prompt_id)
            if number > self.rows:
                break
            yield row, prompt_id, problem
        if digest.text != self.fingerprint:
            raise InputError(
                f"{self.stream.source} changed while it was read. Fix: rerun the command when the file is complete."
            )


class RowsDigest:
    """A hash of rows in their order."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=8)

    def add(self, row: RowResponses, prompt_id: str) -> None:
        texts = repr((prompt_id, row.prompt, row.category, row.responses))
        self._hash.update(texts.encode("utf-8", "surrogatepass"))

    @property
    def text(self) -> str:
        return self._hash.hexdigest()


def read_responses(config: ImportConfig) -> StoredResponses:
    """Read the source: for its columns, then for all facts about its rows.

    Raises:
        InputError: The source can't be read, lacks a column, or has no row with a prompt and a response.
    """
    entry = _entry(config)
    catalog.check_path(entry, "source")
    entry = with_subset(entry, config=config.config, split=config.split)
    columns = _columns(config, entry)
    if columns.prompt is not None and columns.prompt == columns.response:
        raise InputError(f"The column {columns.prompt!r} can't hold prompts and responses. Fix: name two columns.")
    stream = RowStream(entry, frozenset(columns.named.values()))
    unsafe_labels = frozenset(map(folded, config.unsafe_labels))
    numbers, digest, categories = PromptNumbers(), RowsDigest(), Counter[str]()
    responses, labels = Counter[str](), set[str]()
    problems: list[str] = []
    rows = bad = 0
    for number, row in _rows(stream, columns, unsafe_labels):
        rows += 1
        prompt_id, problem = numbers.claim(row, number)
        if prompt_id not in responses:
            categories[row.category] += 1
        responses[prompt_id] += len(row.responses)
        if columns.label is not None:
            found = {each.label for each in row.responses}
            labels.update(found if len(labels) < MOST_LABELS else found & unsafe_labels)
        wrong = [problem] if problem else [each.problem for each in row.responses if each.problem]
        problems += [f"row {number}: {each}" for each in wrong[: MOST_PROBLEMS - len(problems)]]
        bad += len(row.responses) if problem else len(wrong)
        digest.add(row, prompt_id)
    if rows == 0:
        raise InputError(f"{stream.source} holds no rows. Fix: give another file.")
    if entry.rows is not None and rows != entry.rows:
        raise InputError(
            f"{stream.source} has {rows:,} rows, but the set {entry.name!r} has {entry.rows:,}: it is another version, "
            f"or a part. Fix: to import it as it is, give its path{or_correct(entry, 'rows')}."
        )
    if columns.label is not None:
        check_meaning(labels, columns.label, config.unsafe_labels, stream.source)
    for category in config.benign_categories or ():
        if columns.category is None:
            refuse_category(category, (), {stream.source: stream.column_names()})
        else:
            refuse_category(category, categories, {})
    if bad >= responses.total():
        raise InputError(
            f"No row of {stream.source} has a prompt and a response:{_listed(problems, bad)}\n"
            "Fix: name the right columns with --prompt-column and --response-column or --thought-column, or with "
            "--messages-column."
        )
    return StoredResponses(stream, columns, unsafe_labels, rows, responses, categories, digest.text)


def with_catalog(config: ImportConfig) -> ImportConfig:
    """The config with what the catalog knows of its source: columns, labels and family, where it names none."""
    known = _known(config.source)
    if known is None:
        return config
    found = {key: value for key, value in known.keys().items() if key not in config.model_fields_set}
    return ImportConfig.model_validate({**config.model_dump(exclude_unset=True), **found})


def _known(source: str) -> ResponsesEntry | None:
    known = catalog.responses()
    return known.get(source) or next((entry for entry in known.values() if entry.source == source), None)


def _entry(config: ImportConfig) -> RowsEntry:
    return _known(config.source) or adhoc_entry(config.source, prompt_column=config.prompt_column)


def _columns(config: ImportConfig, entry: RowsEntry) -> ResponseColumns:
    given = ResponseColumns(
        prompt=config.prompt_column,
        response=config.response_column,
        thought=config.thought_column,
        messages=config.messages_column,
        id=config.id_column,
        category=config.category_column,
        label=config.label_column,
    )
    stream = RowStream(entry, frozenset())
    columns = stream.column_names()
    if not columns:
        raise InputError(f"{stream.source} holds no rows. Fix: give another file.")
    return find_columns(columns, given, stream.source, entry if isinstance(entry, ResponsesEntry) else None)


def _rows(
    stream: RowStream, columns: ResponseColumns, unsafe_labels: frozenset[str]
) -> Iterator[tuple[int, RowResponses]]:
    number = 0
    for _, rows in stream.batches():
        for row in rows:
            number += 1
            yield number, read_row(row, columns, unsafe_labels)


def _listed(problems: list[str], bad: int) -> str:
    more = f"\n  and {bad - len(problems):,} more" if bad > len(problems) else ""
    return "".join(f"\n  {problem}" for problem in problems) + more
