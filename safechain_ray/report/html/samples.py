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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from safechain_ray.errors import InputError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.labels import common_sampling, setting_label
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

COLUMNS = (
    *("sample_id", "setting_id", "dataset", "prompt_id", "category", "prompt", "sample_index", "seed", "thought"),
    *("answer", "response", "prefill", "outcome", "finish_reason", "error", "prompt_tokens", "thought_tokens"),
    *("answer_tokens", "forced_rounds", "seconds", "verdicts"),
)

SHOWN_FACTS = ("finish_reason", "seed", "prompt_tokens", "thought_tokens", "answer_tokens", "forced_rounds", "seconds")
"""Columns that the browser lists beside the texts of a sample."""


@dataclass(frozen=True, slots=True)
class PackedSamples:
    """`rows` samples, `with_text` of them with their texts, `TEXTS_A_CHUNK` in each of the chunks.

    `ids` has the sample_id of each row.
    """

    index: str
    ids: str
    chunks: tuple[str, ...]
    rows: int
    with_text: int


def pack_samples(folder: RunFolder, metrics: RunMetrics, with_text: int | None = None) -> PackedSamples:
    """Everything that the sample browser needs of the run in `folder`, with the texts of at most `with_text` samples.

    By default WITH_TEXT samples have texts, fewer where these would make a page that no browser opens.
    """
    rows = sum(setting.rows for setting in metrics.settings)
    most = WITH_TEXT if with_text is None else with_text
    if with_text is None:
        stored = sum(file.size for file in folder.samples.list_facts(".parquet"))
        most = min(most, int(rows * TEXT_BYTES / max(1, stored)))
    judges = {judge.judge for setting in metrics.settings for judge in setting.judges}
    packer = _Packer(metrics, most, _run_key(folder))
    for verdicts in folder.added_verdicts(judges):
        packer.add_verdicts(verdicts)
    for table in folder.counted_samples(COLUMNS):
        for batch in table.to_batches(ROWS_AT_ONCE):
            packer.add(batch)
    return packer.packed()


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
    start: list[str] = field(default_factory=list)
    categories: dict[str, int] = field(default_factory=dict)

    def code(self, row: Mapping[str, Any]) -> int:
        key = (row["dataset"], row["prompt_id"])
        if key not in self.codes:
            self.codes[key] = len(self.codes)
            self.category.append(self.categories.setdefault(row["category"], len(self.categories)))
            self.start.append(" ".join(row["prompt"][: 4 * START_CHARACTERS].split())[:START_CHARACTERS])
        return self.codes[key]


class _Row(NamedTuple):
    """A row of the index; rows are sorted by these fields. `text` is -1 where the texts are left out."""

    setting: int
    prompt: int
    sample: int
    outcome: str
    verdicts: str
    text: int
    sample_id: str


class _Packer:
    """Accumulates verdicts that were added to the run, then tables of samples, one after the other."""

    def __init__(self, metrics: RunMetrics, with_text: int, run: str) -> None:
        self._run = run
        common = common_sampling(metrics.settings)
        self._labels = [setting_label(setting, common) for setting in metrics.settings]
        self._settings = {setting.setting_id: code for code, setting in enumerate(metrics.settings)}
        self._judges = list(dict.fromkeys((j.judge, j.part) for setting in metrics.settings for j in setting.judges))
        self._share = with_text / max(1, sum(setting.rows for setting in metrics.settings))
        self._most = with_text
        self._added: defaultdict[tuple[str, Part], dict[str, Mapping[str, Any]]] = defaultdict(dict)
        self._prompts = _Prompts()
        self._rows: list[_Row] = []
        self._open_chunk: list[list[Any]] = []
        self._chunks: list[str] = []

    def add_verdicts(self, table: pa.Table) -> None:
        """Keep the details of those verdicts alone whose samples may have texts: there may be a million others."""
        for batch in table.to_batches(ROWS_AT_ONCE):
            for row in batch.to_pylist():
                kept = row if self._is_drawn(row["sample_id"]) else _DECISIONS[row["unsafe"]]
                self._added[row["judge"], row["part"]][row["sample_id"]] = kept

    def add(self, rows: pa.RecordBatch) -> None:
        for row in rows.to_pylist():
            if row["setting_id"] not in self._settings:
                raise InputError(
                    f"samples/ has rows of setting {row['setting_id']}, which metrics.json lacks. Fix: remove the "
                    "file that has them, and rerun the run's own command: it does the file's rows again."
                )
            verdicts = {(verdict["judge"], verdict["part"]): verdict for verdict in row["verdicts"]}
            added = ((judge, each.get(row["sample_id"])) for judge, each in self._added.items())
            verdicts |= {judge: verdict for judge, verdict in added if verdict is not None}
            found = [verdicts.get(judge) for judge in self._judges]
            self._rows.append(
                _Row(
                    self._settings[row["setting_id"]],
                    self._prompts.code(row),
                    row["sample_index"],
                    row["outcome"],
                    "".join(map(_verdict_code, found)),
                    self._text(row, found) if self._has_text(row["sample_id"]) else -1,
                    row["sample_id"],
                )
            )

    def packed(self) -> PackedSamples:
        if self._open_chunk:
            self._close_chunk()
        rows = sorted(self._rows)
        index = {
            "run": self._run,
            "settings": self._labels,
            "settingIds": list(self._settings),
            "judges": [{"judge": judge, "part": part} for judge, part in self._judges],
            "categories": list(self._prompts.categories),
            "prompts": {
                "id": [prompt_id for _, prompt_id in self._prompts.codes],
                "category": self._prompts.category,
                "start": self._prompts.start,
            },
            "setting": [row.setting for row in rows],
            "prompt": [row.prompt for row in rows],
            "index": [row.sample for row in rows],
            "outcome": [row.outcome for row in rows],
            "verdicts": [row.verdicts for row in rows],
            "text": [row.text for row in rows],
            "textsAChunk": TEXTS_A_CHUNK,
            "facts": SHOWN_FACTS,
        }
        ids = _packed_ids([row.sample_id for row in rows])
        return PackedSamples(packed(index), ids, tuple(self._chunks), len(rows), sum(row.text >= 0 for row in rows))

    def _has_text(self, sample_id: str) -> bool:
        stored = len(self._chunks) * TEXTS_A_CHUNK + len(self._open_chunk)
        return self._share >= 1 or (stored < self._most and self._is_drawn(sample_id))

    def _is_drawn(self, sample_id: str) -> bool:
        return self._share >= 1 or int(short_hash(sample_id), 16) < self._share * 2**64

    def _text(self, row: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any] | None]) -> int:
        """Put a sample's texts into the open chunk; return their number."""
        number = len(self._chunks) * TEXTS_A_CHUNK + len(self._open_chunk)
        whole = row["response"] if row["thought"] is None and row["answer"] is None else None
        texts = [row["prompt"], row["thought"], row["answer"], whole, row["error"]]
        facts = [row[name] for name in SHOWN_FACTS]
        self._open_chunk.append([texts, facts, [_verdict_detail(verdict) for verdict in verdicts]])
        if len(self._open_chunk) == TEXTS_A_CHUNK:
            self._close_chunk()
        return number

    def _close_chunk(self) -> None:
        self._chunks.append(packed(self._open_chunk))
        self._open_chunk = []


_DECISIONS: Mapping[bool | None, Mapping[str, Any]] = {unsafe: {"unsafe": unsafe} for unsafe in (True, False, None)}
"""Verdicts without their details."""


def _verdict_code(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None or verdict["unsafe"] is None:
        return "m"
    return "u" if verdict["unsafe"] else "s"


def _verdict_detail(verdict: Mapping[str, Any] | None) -> list[Any] | None:
    """Score, categories, error, note; a file of an earlier version has no note."""
    if verdict is None:
        return None
    return [verdict["score"], verdict["categories"], verdict["error"], verdict.get("note")]
