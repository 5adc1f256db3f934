"""The rows of stored responses, read once before a run is made of them: columns, prompts, K, and a hash of all texts.

Memory grows with the number of prompts, not with the length of the texts.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from safechain_ray.catalog.entries import DatasetEntry
from safechain_ray.config import ImportConfig
from safechain_ray.datasets.adhoc import adhoc_entry, with_subset
from safechain_ray.datasets.labelled import folded
from safechain_ray.datasets.responses import ResponseColumns, RowResponses, find_columns, read_row
from safechain_ray.datasets.row_stream import RowStream
from safechain_ray.errors import InputError
from safechain_ray.types import short_hash

MOST_PROBLEMS = 5
"""Most rows that an error lists."""


@dataclass
class PromptNumbers:
    """The ids of prompts in their order, and the number of responses to each.

    A text has one id. The rows of an id have one text; a row with another text gets an id of its own and a problem.
    """

    texts: dict[str, str] = field(default_factory=dict)
    responses: Counter[str] = field(default_factory=Counter)

    def claim(self, row: RowResponses, number: int) -> tuple[str, str | None]:
        """The prompt's id for row `number`, and the problem of the row."""
        if row.problem is not None:
            return f"row-{number}", row.problem
        text = short_hash(row.prompt, characters=12)
        prompt_id = row.prompt_id or text
        if self.texts.setdefault(prompt_id, text) == text:
            return prompt_id, None
        return f"row-{number}", f"its id {prompt_id[:40]!r} has another prompt in an earlier row"


@dataclass(frozen=True)
class StoredResponses:
    """All facts about the rows of a source that are known before the first sample is written."""

    stream: RowStream
    columns: ResponseColumns
    unsafe_labels: frozenset[str]
    rows: int
    samples: int
    most_responses: int
    categories: dict[str, int]
    fingerprint: str
    problems: tuple[str, ...]
    bad: int

    def each(self) -> Iterator[tuple[int, RowResponses]]:
        """The rows, counted from 1."""
        return _rows(self.stream, self.columns, self.unsafe_labels)


def read_responses(config: ImportConfig) -> StoredResponses:
    """Read the source once. Memory grows with the number of prompts, not with their texts.

    Raises:
        InputError: The source can't be read, lacks a column, or has no row with a prompt and a response.
    """
    entry = with_subset(_entry(config), config=config.config, split=config.split)
    columns = _columns(config, entry)
    stream = RowStream(entry, frozenset(columns.named.values()))
    unsafe_labels = frozenset(map(folded, config.unsafe_labels))
    numbers, categories = PromptNumbers(), Counter[str]()
    digest = blake2b(digest_size=8)
    problems: list[str] = []
    rows = samples = bad = 0
    for number, row in _rows(stream, columns, unsafe_labels):
        rows += 1
        prompt_id, problem = numbers.claim(row, number)
        if prompt_id not in numbers.responses:
            categories[row.category] += 1
        numbers.responses[prompt_id] += len(row.responses)
        samples += len(row.responses)
        wrong = [problem] if problem else [each.problem for each in row.responses if each.problem]
        problems += [f"row {number}: {each}" for each in wrong[: MOST_PROBLEMS - len(problems)]]
        bad += len(row.responses) if problem else len(wrong)
        digest.update(repr((prompt_id, row.prompt, row.category, row.responses)).encode("utf-8", "surrogatepass"))
    if rows == 0:
        raise InputError(f"{stream.source} holds no rows. Fix: give another file.")
    if bad >= samples:
        raise InputError(
            f"No row of {stream.source} has a prompt and a response:{_listed(problems, bad)}\n"
            "Fix: name the right columns with --prompt-column and --response-column, or with --messages-column."
        )
    most = max(numbers.responses.values())
    found = dict(categories)
    return StoredResponses(
        stream, columns, unsafe_labels, rows, samples, most, found, digest.hexdigest(), tuple(problems), bad
    )


def _entry(config: ImportConfig) -> DatasetEntry:
    return adhoc_entry(config.source, prompt_column=config.prompt_column)


def _columns(config: ImportConfig, entry: DatasetEntry) -> ResponseColumns:
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
    columns, _ = next(stream.batches(), ((), []))
    if not columns:
        raise InputError(f"{stream.source} holds no rows. Fix: give another file.")
    return find_columns(columns, given, stream.source)


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
