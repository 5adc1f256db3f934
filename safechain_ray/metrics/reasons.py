"""Error reasons counted in bounded memory: messages that differ only in numbers and names are one reason."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

import pyarrow as pa

from safechain_ray.metrics.intervals import FrozenModel

REASON_CHARACTERS = 200
"""Longer messages are truncated."""

MOST_REASONS = 200
"""Distinct reasons stored for each (setting, judge, part). The rarest ones are counted together."""

MOST_SHOWN = 3

OTHERS = "other reasons"
"""The name under which the rarest reasons are counted if there are more than `MOST_REASONS`."""

REASON_KEYS = ["setting_id", "judge", "part", "reason"]
REASONS_SCHEMA = pa.schema([*(pa.field(name, pa.string()) for name in REASON_KEYS), pa.field("rows", pa.int64())])
"""`judge` and `part` are empty for errors of the samples themselves."""

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
    """Why rows ended with an error, or verdicts are missing, and how many. Numbers are replaced by N.

    The text comes from engines, providers and models. Code that shows it has to escape it first.
    """

    reason: str
    rows: int


def plain_reason(message: str, names: Iterable[str] = ()) -> str:
    """`message` on one line, with N for every number and hexadecimal id and "…" for each of `names`.

    HTTP status codes are kept: 429 and 500 are different reasons.
    """
    text = " ".join(_CONTROL.sub("", message[: 10 * REASON_CHARACTERS]).split())
    for name in names:
        if len(name) > 2:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    text = _VARYING.sub(lambda match: match["kept"] or "N", text)
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
            bounded_rows.append(dict(zip(REASON_KEYS, (*key, OTHERS), strict=True)) | {"rows": rest})
    return pa.Table.from_pylist(bounded_rows, schema=REASONS_SCHEMA)


def commonest(reasons: Sequence[tuple[str, int]]) -> tuple[Reason, ...]:
    """The most common of (reason, rows), at most `MOST_SHOWN`; ties in the order of their texts."""
    ordered = sorted(reasons, key=lambda each: (each[0] == OTHERS, -each[1], each[0]))
    return tuple(Reason(reason=reason, rows=rows) for reason, rows in ordered[:MOST_SHOWN])


def _key(row: dict[str, str]) -> tuple[str, str, str]:
    return row["setting_id"], row["judge"], row["part"]
