"""The samples of a run for the page's browser: a small index by column, and texts in compressed chunks.

The page unpacks the index at once, so that filters are instant. It unpacks a chunk of texts when one of its samples is
opened or searched. The report of a large run leaves out the texts of some samples, chosen by a hash of their ids, so
practically at random. All data is JSON, deflated, in base64: HTML interprets none of its characters.
"""

import json
import re
import zlib
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from safechain_ray.errors import InputError
from safechain_ray.runs.folder import RunFolder
from safechain_ray.types import Part, short_hash

TEXTS_A_CHUNK = 128
WITH_TEXT = 50_000
"""Samples whose texts are put into a report, unless asked otherwise: about 40 MB at 2 kB each."""

TEXT_BYTES = 64 * 2**20
"""Bytes of the run's files whose texts are put into a report, unless asked otherwise. Measured with samples of
60 kB: 1,576 samples and a page of 45 MB."""

START_CHARACTERS = 110
ROWS_AT_ONCE = 1024
"""Rows that are Python objects at the same time."""

SHOWN_FACTS = ("finish_reason", "seed", "prompt_tokens", "thought_tokens", "answer_tokens", "forced_rounds", "seconds")
"""Columns that the browser lists beside the texts of a sample."""


@dataclass(frozen=True, slots=True)
class PackedSamples:
    """`rows` samples, `with_text` of them with their texts, `TEXTS_A_CHUNK` in each of the chunks.

    `ids` has the sample_id of each row. `caveats` say what could not be read.
    """

    index: str
    ids: str
    chunks: tuple[str, ...]
    rows: int
    with_text: int
    is_blurred: bool = True
    caveats: tuple[str, ...] = ()


Rater = tuple[str, Part | None]
"""A judge, a vote or a label with the part that it is about; the grade of a benchmark is about no part."""


class Decision(NamedTuple):
    """What a rater decided: the letter of a word in js/filters.js, and details that are shown beside the texts.

    Letters: s safe, u unsafe, c correct, w wrong, m missing.
    """

    letter: str
    score: float | None = None
    categories: Sequence[str] | None = ()
    error: str | None = None
    note: str | None = None


MISSING = Decision("m")


@dataclass(frozen=True)
class SampleSource:
    """The samples of one run as the browser shows them.

    `settings` are the names of settings by their ids, in the order of the page. `label` is the place among the raters
    of what the others are compared with. `is_blurred` says whether texts start blurred, because they may be harmful.
    """

    folder: RunFolder
    settings: Mapping[str, str]
    raters: Sequence[Rater]
    tables: Iterable[pa.Table]
    decisions: Callable[[Mapping[str, Any]], Mapping[Rater, Decision]]
    more_texts: Callable[[Mapping[str, Any]], Sequence[str | None]] = lambda row: ()
    facts: Sequence[str] = SHOWN_FACTS
    kind: Literal["verdict", "grade"] = "verdict"
    label: int | None = None
    is_blurred: bool = True


@dataclass(frozen=True, slots=True)
class TextDraw:
    """Which samples are shown with their texts: at most `most` of them, a `share` of all."""

    most: int
    share: float

    def has(self, sample_id: str) -> bool:
        return self.share >= 1 or int(short_hash(sample_id), 16) < self.share * 2**64


def draw_texts(folder: RunFolder, rows: int, with_text: int | None) -> TextDraw:
    """At most `with_text` of the `rows` samples in `folder` have texts.

    By default WITH_TEXT samples have texts, fewer where these would make a page that no browser opens.
    """
    most = WITH_TEXT if with_text is None else with_text
    if with_text is None:
        stored = sum(file.size for file in folder.samples.list_facts(".parquet"))
        most = min(most, int(rows * TEXT_BYTES / max(1, stored)))
    return TextDraw(most, most / max(1, rows))


def pack(source: SampleSource, draw: TextDraw) -> PackedSamples:
    """Everything that the sample browser needs of these samples, with the texts of those that are drawn."""
    packer = _Packer(source, draw)
    for table in source.tables:
        for batch in table.to_batches(ROWS_AT_ONCE):
            packer.add(batch)
    return packer.packed(_run_key(source.folder))


def _run_key(folder: RunFolder) -> str:
    """By what the page finds its notes again: equal after a resume and after another judge, unlike any other run's.

    Runs of two models with the same settings have the same sample_ids.
    """
    run = folder.read_run()
    if run is None:
        return ""
    start = run.attempts[0].started if run.attempts else None
    return short_hash(json.dumps(run.identity.tree, sort_keys=True), start)


def packed(value: Any) -> str:
    """`value` as the page's script unpacks it, without loss (`</script>`, NUL, a lone surrogate)."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return b64encode(zlib.compress(text.encode("ascii"), level=6)).decode("ascii")


_OWN_ID = re.compile("[0-9a-f]{16}")


def _packed_ids(ids: Sequence[str]) -> str:
    """The bytes of hexadecimal ids, which no compression shortens, after a dot; any other ids as `packed` does."""
    if all(map(_OWN_ID.fullmatch, ids)):
        return "." + b64encode(bytes.fromhex("".join(ids))).decode("ascii")
    return packed(ids)


@dataclass(slots=True)
class _Prompts:
    """Prompts by (data set, prompt_id), each once."""

    codes: dict[tuple[str, str], int] = field(default_factory=dict)
    category: list[int] = field(default_factory=list)
    beginnings: list[str] = field(default_factory=list)
    categories: dict[str, int] = field(default_factory=dict)

    def code(self, row: Mapping[str, Any]) -> int:
        key = (row["dataset"], row["prompt_id"])
        if key not in self.codes:
            self.codes[key] = len(self.codes)
            self.category.append(self.categories.setdefault(row["category"], len(self.categories)))
            self.beginnings.append(" ".join(row["prompt"][: 4 * START_CHARACTERS].split()))
        return self.codes[key]

    def starts(self) -> list[str]:
        """The start of each prompt, by its code, without the words with which all prompts of its data set start."""
        by_dataset: defaultdict[str, list[str]] = defaultdict(list)
        for (dataset, _), beginning in zip(self.codes, self.beginnings, strict=True):
            by_dataset[dataset].append(beginning)
        shared = {dataset: _shared_words(beginnings) for dataset, beginnings in by_dataset.items()}
        return [
            f"{'… ' if shared[dataset] else ''}{beginning[shared[dataset] :][:START_CHARACTERS]}"
            for (dataset, _), beginning in zip(self.codes, self.beginnings, strict=True)
        ]

    def places(self) -> list[int]:
        """The place of each prompt, by its code, where prompts are sorted by data set and id."""
        by_id = sorted(self.codes.items(), key=lambda item: (item[0][0], _numbers_in_order(item[0][1])))
        places = [0] * len(by_id)
        for place, (_, code) in enumerate(by_id):
            places[code] = place
        return places


LEAST_SHARED = 30
"""Characters with which all prompts of a set start, from which on the list leaves them out."""


def _shared_words(texts: Sequence[str]) -> int:
    """The length of the words with which all `texts` start; 0 for one text, and for few words."""
    if len(texts) < 2:
        return 0
    length = commonprefix(texts).rfind(" ") + 1  # noqa: RUF071 (characters are compared, not parts of paths)
    return length if length >= LEAST_SHARED else 0


_DIGITS = re.compile(r"([0-9]+)")


def _numbers_in_order(text: str) -> list[tuple[int, str, str]]:
    """A sort key by which `row-2` comes before `row-10`.

    Example:
        >>> sorted(["row-10", "row-2"], key=_numbers_in_order)
        ['row-2', 'row-10']
    """
    parts = _DIGITS.split(text)
    return [
        (len(number), number, part) if place % 2 else (0, part, "")
        for place, part in enumerate(parts)
        for number in [part.lstrip("0")]
    ]


class _Row(NamedTuple):
    """A row of the index; rows are sorted by these fields, prompts by their ids.

    `text` is -1 where the texts are left out.
    """

    setting: int
    prompt: int
    sample: int
    outcome: str
    verdicts: str
    text: int
    sample_id: str


class _Packer:
    """Accumulates tables of samples, one after the other."""

    def __init__(self, source: SampleSource, draw: TextDraw) -> None:
        self._source = source
        self._draw = draw
        self._settings = {setting_id: code for code, setting_id in enumerate(source.settings)}
        self._prompts = _Prompts()
        self._rows: list[_Row] = []
        self._open_chunk: list[list[Any]] = []
        self._chunks: list[str] = []

    def add(self, rows: pa.RecordBatch) -> None:
        for row in rows.to_pylist():
            if row["setting_id"] not in self._settings:
                raise InputError(
                    f"samples/ has rows of setting {row['setting_id']}, which metrics.json lacks. Fix: remove the "
                    "file that has them, and rerun the run's own command: it does the file's rows again."
                )
            found = self._source.decisions(row)
            decisions = [found.get(rater) for rater in self._source.raters]
            self._rows.append(
                _Row(
                    self._settings[row["setting_id"]],
                    self._prompts.code(row),
                    row["sample_index"],
                    row["outcome"],
                    "".join((decision or MISSING).letter for decision in decisions),
                    self._text(row, decisions) if self._has_text(row["sample_id"]) else -1,
                    row["sample_id"],
                )
            )

    def packed(self, run: str) -> PackedSamples:
        if self._open_chunk:
            self._close_chunk()
        places = self._prompts.places()
        rows = sorted(self._rows, key=lambda row: (row.setting, places[row.prompt], *row[2:]))
        source = self._source
        index = {
            "run": run,
            "kind": source.kind,
            "label": source.label,
            "blurred": source.is_blurred,
            "settings": list(source.settings.values()),
            "settingIds": list(source.settings),
            "judges": [{"judge": judge, "part": part} for judge, part in source.raters],
            "categories": list(self._prompts.categories),
            "prompts": {
                "id": [prompt_id for _, prompt_id in self._prompts.codes],
                "category": self._prompts.category,
                "start": self._prompts.starts(),
            },
            "setting": [row.setting for row in rows],
            "prompt": [row.prompt for row in rows],
            "index": [row.sample for row in rows],
            "outcome": [row.outcome for row in rows],
            "verdicts": [row.verdicts for row in rows],
            "text": [row.text for row in rows],
            "textsAChunk": TEXTS_A_CHUNK,
            "facts": source.facts,
        }
        ids = _packed_ids([row.sample_id for row in rows])
        with_text = sum(row.text >= 0 for row in rows)
        return PackedSamples(packed(index), ids, tuple(self._chunks), len(rows), with_text, source.is_blurred)

    def _has_text(self, sample_id: str) -> bool:
        stored = len(self._chunks) * TEXTS_A_CHUNK + len(self._open_chunk)
        return self._draw.share >= 1 or (stored < self._draw.most and self._draw.has(sample_id))

    def _text(self, row: Mapping[str, Any], decisions: Sequence[Decision | None]) -> int:
        """Put a sample's texts into the open chunk; return their number."""
        number = len(self._chunks) * TEXTS_A_CHUNK + len(self._open_chunk)
        whole = row["response"] if row["thought"] is None and row["answer"] is None else None
        more = self._source.more_texts(row)
        texts = [row["prompt"], row["thought"], row["answer"], whole, row["error"], *more]
        facts = [row[name] for name in self._source.facts]
        self._open_chunk.append([texts, facts, [decision and list(decision[1:]) for decision in decisions]])
        if len(self._open_chunk) == TEXTS_A_CHUNK:
            self._close_chunk()
        return number

    def _close_chunk(self) -> None:
        self._chunks.append(packed(self._open_chunk))
        self._open_chunk = []
