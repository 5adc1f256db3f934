"""Mergeable counts of rows and verdicts: every metric of a run is derived from them.

Error reasons are counted in bounded memory: messages that differ only in numbers and names are one reason. One
message of each reason is kept as example.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.metrics.intervals import FrozenModel
from safechain_ray.types import NO_FAILURE, SAMPLES_SCHEMA, Outcome, Part, Sample, samples_table

REASON_CHARACTERS = 200
"""Longer messages are truncated."""

MOST_REASONS = 200
"""Distinct reasons stored for each (setting, judge, part). The rarest ones are counted together."""

MOST_SHOWN = 3

OTHERS = "other reasons"
"""The name under which the rarest reasons are counted if there are more than `MOST_REASONS`."""

REASON_KEYS = ["setting_id", "judge", "part", "reason"]

REASONS_SCHEMA = pa.schema(
    [*(pa.field(name, pa.string()) for name in (*REASON_KEYS, "example")), pa.field("rows", pa.int64())]
)
"""`judge` and `part` are empty for errors of the samples themselves. `example` is the first message in the order of
texts, so that it does not depend on how rows are split."""

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # removed before numbers are replaced by N

_STATUS = r"(?:HTTP|status|code)\D{0,8}[1-5]\d\d\b"

_IDS = (
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",  # a UUID
    r"\b(?:req|request|resp|msg|chatcmpl|cmpl)[_-](?=\w*\d)[\w-]+",  # providers' ids of requests and answers
    r"\b0x[0-9a-f]+\b",
    r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b",
    r"\d+(?:[.,:]\d+)*",
)

_VARYING = re.compile(rf"(?P<kept>{_STATUS})|{'|'.join(_IDS)}", re.IGNORECASE)


class Reason(FrozenModel):
    """Why rows ended with an error, or verdicts are missing, and how many. `reason` quotes one of their messages.

    The text comes from engines, providers and models. Code that shows it has to escape it first.
    """

    reason: str
    rows: int


def plain_reason(message: str, names: Iterable[str] = ()) -> str:
    """`message` on one line, with N for every number and hexadecimal id and "…" for each of `names`.

    HTTP status codes are kept: 429 and 500 are different reasons.
    """
    text = _one_line(message)
    for name in names:
        if len(name) > 2:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return _cut(_VARYING.sub(lambda match: match["kept"] or "N", text))


def _one_line(message: str) -> str:
    return " ".join(_CONTROL.sub("", message[: 10 * REASON_CHARACTERS]).split())


def _cut(text: str) -> str:
    return text if len(text) <= REASON_CHARACTERS else f"{text[: REASON_CHARACTERS - 1]}…"


def bounded(reasons: pa.Table) -> pa.Table:
    """`reasons` with at most `MOST_REASONS` of each setting, judge and part: the most common, and the sum of the rest.

    The sums do not change. With at most `MOST_REASONS` distinct reasons the counts are exact for any order of merging.
    """
    if reasons.num_rows <= MOST_REASONS:
        return reasons
    bounded_rows = []
    rows = sorted(reasons.to_pylist(), key=_key)
    for key, of_key in groupby(rows, _key):
        ordered = sorted(of_key, key=lambda row: (row["reason"] == OTHERS, -row["rows"], row["reason"]))
        bounded_rows += ordered[:MOST_REASONS]
        if rest := sum(row["rows"] for row in ordered[MOST_REASONS:]):
            others = dict(zip(REASON_KEYS, (*key, OTHERS), strict=True))
            bounded_rows.append(others | {"example": OTHERS, "rows": rest})
    return pa.Table.from_pylist(bounded_rows, schema=REASONS_SCHEMA)


def commonest(reasons: Sequence[tuple[str, int]]) -> tuple[Reason, ...]:
    """The most common of (reason, rows), at most `MOST_SHOWN`; ties in the order of their texts."""
    ordered = sorted(reasons, key=lambda each: (each[0] == OTHERS, -each[1], each[0]))
    return tuple(Reason(reason=reason, rows=rows) for reason, rows in ordered[:MOST_SHOWN])


def _key(row: dict[str, str]) -> tuple[str, str, str]:
    return row["setting_id"], row["judge"], row["part"]


OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

COUNTED_COLUMNS = (
    "setting_id",
    "prompt_id",
    "category",
    "outcome",
    "error",
    "prompt_tokens",
    "thought_tokens",
    "answer_tokens",
    "forced_rounds",
    "seconds",
    "verdicts",
)
"""The columns of `SAMPLES_SCHEMA` that counting reads. Callers read only these from storage."""

PromptHistogram = Mapping[tuple[int, int], int]
"""(safe verdicts, unsafe verdicts) of a prompt -> number of prompts with these counts."""

_PROMPT_KEYS = ["setting_id", "prompt_id", "category"]

_VERDICT_KEYS = ["setting_id", "judge", "part", "prompt_id"]

_VERDICT_SUMS = ["safe", "unsafe", "noted", "failed"]

_TOTALS = ["prompt_tokens", "thought_tokens", "answer_tokens", "forced_rounds", "microseconds"]

_NO_VERDICTS = pa.table(
    {name: pa.array([], pa.string()) for name in _VERDICT_KEYS}
    | {name: pa.array([], pa.int64()) for name in _VERDICT_SUMS}
    | {"error": pa.array([], pa.string())}
)


@dataclass(frozen=True, slots=True)
class PromptCounts:
    """The verdicts of one judge on one part of all rows of one prompt. Rows without a verdict are `missing`."""

    prompt_id: str
    category: str
    safe: int
    unsafe: int
    missing: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the rows of one setting. A token sum is None if no row has the count."""

    prompt_tokens: int | None
    thought_tokens: int | None
    answer_tokens: int | None
    forced_rounds: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Counts of any set of rows, as four Arrow tables with one row per key.

    `prompts`: setting_id, prompt_id, category -> rows of each outcome. `verdicts`: setting_id, judge, part, prompt_id
    -> safe, unsafe, noted, failed. `totals`: setting_id -> sums of tokens, forced rounds and microseconds. `reasons`:
    setting_id, judge, part, reason -> example, rows. All sums are integers, so merging is exact in any order, except
    for reasons beyond `MOST_REASONS`. Rows must be unique by sample_id: counts can't reveal a repeated row.
    """

    prompts: pa.Table
    verdicts: pa.Table
    totals: pa.Table
    reasons: pa.Table

    def __add__(self, other: "Counts") -> "Counts":
        return merge((self, other))

    def prompt_counts(self, setting_id: str, judge: str, part: Part) -> list[PromptCounts]:
        """Every prompt of the setting in the order of prompt_id, including prompts without a verdict of the judge."""
        table = self._judged_prompts(setting_id, judge, part).sort_by("prompt_id")
        columns = (table[name].to_pylist() for name in ("prompt_id", "category", "safe", "unsafe", "rows"))
        return [
            PromptCounts(prompt_id, category, safe, unsafe, rows - safe - unsafe)
            for prompt_id, category, safe, unsafe, rows in zip(*columns, strict=True)
        ]

    def verdict_histograms(self, setting_id: str, judge: str, part: Part) -> dict[str, PromptHistogram]:
        """Number of prompts by their verdicts, for each category in order. Includes prompts without a verdict."""
        table = self._judged_prompts(setting_id, judge, part)
        return _histograms(table, "safe", "unsafe")

    def outcome_histograms(self, setting_id: str, outcome: Outcome) -> dict[str, PromptHistogram]:
        """(rows with the outcome, all rows) of a prompt -> number of such prompts, for each category in order."""
        return _histograms(self._prompts_of(setting_id), outcome, "rows")

    def noted(self, setting_id: str, judge: str, part: Part) -> int:
        """Number of verdicts with a note."""
        return sum(self._verdicts_of(setting_id, judge, part)["noted"].to_pylist())

    def failed(self, setting_id: str, judge: str, part: Part) -> int:
        """Number of verdicts missing because the judge failed, not because there was no text."""
        return sum(self._verdicts_of(setting_id, judge, part)["failed"].to_pylist())

    def error_reasons(self, setting_id: str, judge: str = "", part: str = "") -> tuple[Reason, ...]:
        """The most common reasons of samples with an error, or of missing verdicts of `judge` on `part`."""
        wanted = (pc.field("setting_id") == setting_id) & (pc.field("judge") == judge) & (pc.field("part") == part)
        found = self.reasons.filter(wanted)
        return commonest(list(zip(found["example"].to_pylist(), found["rows"].to_pylist(), strict=True)))

    def setting_totals(self, setting_id: str) -> Totals:
        rows = self.totals.filter(pc.equal(self.totals["setting_id"], setting_id)).to_pylist()
        if not rows:
            return Totals(None, None, None, 0, 0.0)
        (row,) = rows
        return Totals(
            row["prompt_tokens"],
            row["thought_tokens"],
            row["answer_tokens"],
            row["forced_rounds"],
            row["microseconds"] / 1e6,
        )

    def _prompts_of(self, setting_id: str) -> pa.Table:
        """prompt_id, category, the rows of each outcome, and their sum `rows`."""
        table = self.prompts.filter(pc.equal(self.prompts["setting_id"], setting_id)).drop_columns("setting_id")
        rows = table[OUTCOMES[0]]
        for outcome in OUTCOMES[1:]:
            rows = pc.add(rows, table[outcome])
        return table.append_column("rows", rows)

    def _verdicts_of(self, setting_id: str, judge: str, part: Part) -> pa.Table:
        """prompt_id, safe, unsafe, noted: one row per prompt with a verdict of the judge."""
        wanted = (pc.field("setting_id") == setting_id) & (pc.field("judge") == judge) & (pc.field("part") == part)
        return self.verdicts.filter(wanted)

    def _judged_prompts(self, setting_id: str, judge: str, part: Part) -> pa.Table:
        """prompt_id, category, rows, safe, unsafe: one row per prompt of the setting."""
        verdicts = self._verdicts_of(setting_id, judge, part).select(["prompt_id", "safe", "unsafe"])
        table = self._prompts_of(setting_id).select(["prompt_id", "category", "rows"])
        table = table.join(verdicts, keys="prompt_id", join_type="left outer")
        for name in ("safe", "unsafe"):
            table = table.set_column(table.schema.get_field_index(name), name, pc.fill_null(table[name], 0))
        return table


def count_table(table: pa.Table) -> Counts:
    """Counts of rows of `SAMPLES_SCHEMA`. Only the columns `COUNTED_COLUMNS` are needed."""
    exploded = _explode_verdicts(table)
    outcomes: dict[str, pa.ChunkedArray] = {
        name: pc.cast(pc.equal(table["outcome"], name), pa.int64()) for name in OUTCOMES
    }
    sums = {name: pc.cast(table[name], pa.int64()) for name in _TOTALS[:-1]}
    sums["microseconds"] = pc.cast(pc.round(pc.multiply(table["seconds"], 1e6)), pa.int64())
    keys: dict[str, pa.ChunkedArray] = {name: table[name] for name in _PROMPT_KEYS}
    return Counts(
        prompts=_sum_by(pa.table({**keys, **outcomes}), _PROMPT_KEYS, OUTCOMES),
        verdicts=_sum_by(exploded, _VERDICT_KEYS, _VERDICT_SUMS),
        totals=_sum_by(pa.table({"setting_id": table["setting_id"], **sums}), ["setting_id"], _TOTALS),
        reasons=_reasons([*_sample_errors(table), *_verdict_errors(exploded)]),
    )


def count_verdicts(table: pa.Table) -> Counts:
    """Counts of rows of `VERDICTS_SCHEMA`, to be merged with the counts of their samples."""
    counted = _verdict_counts(table)
    return replace(
        count_table(SAMPLES_SCHEMA.empty_table()),
        verdicts=_sum_by(counted, _VERDICT_KEYS, _VERDICT_SUMS),
        reasons=_reasons(_verdict_errors(counted)),
    )


def count_samples(samples: Sequence[Sample]) -> Counts:
    return count_table(samples_table(samples))


def merge(parts: Iterable[Counts]) -> Counts:
    """The counts of all rows behind `parts`, in one pass. Without parts the counts are empty."""
    all_parts = [count_table(SAMPLES_SCHEMA.empty_table()), *parts]
    return Counts(
        prompts=_sum_by(pa.concat_tables([part.prompts for part in all_parts]), _PROMPT_KEYS, OUTCOMES),
        verdicts=_sum_by(pa.concat_tables([part.verdicts for part in all_parts]), _VERDICT_KEYS, _VERDICT_SUMS),
        totals=_sum_by(pa.concat_tables([part.totals for part in all_parts]), ["setting_id"], _TOTALS),
        reasons=_sum_reasons(pa.concat_tables([part.reasons for part in all_parts])),
    )


def histogram(prompts: Iterable[PromptCounts]) -> PromptHistogram:
    """Number of `prompts` by their (safe, unsafe) verdicts."""
    return Counter((prompt.safe, prompt.unsafe) for prompt in prompts)


def _explode_verdicts(table: pa.Table) -> pa.Table:
    """One row per verdict. A verdict of None is neither safe nor unsafe, and adds to neither."""
    batches = table.select(["setting_id", "prompt_id", "verdicts"]).to_batches()
    return pa.concat_tables([_NO_VERDICTS, *(_explode_batch(batch) for batch in batches)])


def _explode_batch(batch: pa.RecordBatch) -> pa.Table:
    rows = pc.list_parent_indices(batch["verdicts"])
    verdicts = pc.list_flatten(batch["verdicts"])
    held = [name for name in ("judge", "part", "unsafe", "error", "note") if verdicts.type.get_field_index(name) >= 0]
    of_verdicts = {name: pc.struct_field(verdicts, name) for name in held}
    of_samples = {name: batch[name].take(rows) for name in ("setting_id", "prompt_id")}
    return _verdict_counts(pa.table({**of_samples, **of_verdicts}))


def _verdict_counts(table: pa.Table) -> pa.Table:
    """Each verdict as 0 or 1 safe, unsafe, noted and failed, with its error.

    Files of earlier versions have no notes.
    """
    unsafe, error = table["unsafe"], pc.cast(table["error"], pa.string())
    note = table["note"] if "note" in table.column_names else pa.nulls(table.num_rows, pa.string())
    is_one = {
        "safe": pc.fill_null(pc.invert(unsafe), False),
        "unsafe": pc.fill_null(unsafe, False),
        "noted": pc.is_valid(note),
        "failed": pc.fill_null(pc.invert(pc.match_substring_regex(error, NO_FAILURE)), False),
    }
    counts = {name: pc.cast(each, pa.int64()) for name, each in is_one.items()}
    return pa.table({**{name: table[name] for name in _VERDICT_KEYS}, **counts, "error": error})


def _sample_errors(table: pa.Table) -> Iterator[tuple[tuple[str, str, str, str], str]]:
    """REASON_KEYS of each row with an error, and its message."""
    failed = table.select(["setting_id", "prompt_id", "outcome", "error"]).filter(pc.field("outcome") == "error")
    for row in failed.to_pylist():
        error = row["error"] or "no reason given"
        yield (row["setting_id"], "", "", plain_reason(error, [row["prompt_id"]])), error


def _verdict_errors(verdicts: pa.Table) -> Iterator[tuple[tuple[str, str, str, str], str]]:
    """REASON_KEYS of each missing verdict with an error, and its message."""
    failed = verdicts.select([*_VERDICT_KEYS, "error"]).filter(pc.is_valid(pc.field("error")))
    for row in failed.to_pylist():
        reason = plain_reason(row["error"], [row["prompt_id"]])
        yield (row["setting_id"], row["judge"], row["part"], reason), row["error"]


def _reasons(rows: Iterable[tuple[tuple[str, str, str, str], str]]) -> pa.Table:
    counted: Counter[tuple[str, str, str, str]] = Counter()
    examples: dict[tuple[str, str, str, str], str] = {}
    for key, message in rows:
        counted[key] += 1
        text = _cut(_one_line(message))
        examples[key] = min(examples.get(key, text), text)
    columns = {name: [key[place] for key in counted] for place, name in enumerate(REASON_KEYS)}
    columns |= {"example": [examples[key] for key in counted]}
    return bounded(pa.table({**columns, "rows": list(counted.values())}, schema=REASONS_SCHEMA))


def _sum_reasons(reasons: pa.Table) -> pa.Table:
    summed = reasons.group_by(REASON_KEYS).aggregate([("example", "min"), ("rows", "sum")])
    return bounded(summed.rename_columns([*REASON_KEYS, "example", "rows"]))


def _sum_by(table: pa.Table, keys: list[str], sums: Iterable[str]) -> pa.Table:
    summed = table.group_by(keys).aggregate([(name, "sum") for name in sums])
    return summed.select([*keys, *(f"{name}_sum" for name in sums)]).rename_columns([*keys, *sums])


def _histograms(table: pa.Table, first: str, second: str) -> dict[str, PromptHistogram]:
    grouped = table.group_by(["category", first, second]).aggregate([([], "count_all")])
    columns = (grouped[name].to_pylist() for name in ("category", first, second, "count_all"))
    found: defaultdict[str, dict[tuple[int, int], int]] = defaultdict(dict)
    for category, *pair, prompts in sorted(zip(*columns, strict=True)):
        found[category][pair[0], pair[1]] = prompts
    return dict(found)
