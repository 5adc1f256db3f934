"""Column arrays of one setting's samples, without texts, and shares of samples with intervals clustered by prompt."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from safechain_ray.errors import InputError
from safechain_ray.metrics.intervals import Estimate, share_estimate
from safechain_ray.types import VERDICTS_SCHEMA, Part, Setting

ANALYSED_COLUMNS = (
    "sample_id",
    "setting_id",
    "prompt_id",
    "category",
    "outcome",
    "thought_tokens",
    "answer_tokens",
    "verdicts",
)
"""The columns of `SAMPLES_SCHEMA` that the analysis reads. Callers read only these from storage."""

SAFE, UNSAFE, MISSING = 0, 1, 2
"""Codes of verdicts in a column of verdicts."""

Bools = NDArray[np.bool_]

Ints = NDArray[np.int64]

Floats = NDArray[np.float64]

Texts = NDArray[np.object_]  # a fixed-width type would take the longest name's size for every row

Verdicts = NDArray[np.int8]

Asked = Sequence[tuple[str, Part]]
"""(judge, part) pairs; every sample should have a verdict for each of them."""

_VERDICT_SCHEMA = pa.schema([VERDICTS_SCHEMA.field(name) for name in ("sample_id", "judge", "part", "unsafe")])


@dataclass(frozen=True, slots=True, eq=False)
class SettingRows:
    """The samples of one setting; each array has one value per sample.

    `samples` is K. `prompts` has a number for every prompt. `tokens` are the lengths of thoughts and answers, NaN where
    a sample has none. A verdict that does not exist is MISSING.
    """

    samples: int
    prompts: Ints
    categories: Texts
    outcomes: Texts
    tokens: Mapping[Part, Floats]
    verdicts: Mapping[tuple[str, Part], Verdicts]

    def __len__(self) -> int:
        return len(self.prompts)

    def filter(self, wanted: Bools) -> "SettingRows":
        """The samples where `wanted` is true."""
        return SettingRows(
            self.samples,
            self.prompts[wanted],
            self.categories[wanted],
            self.outcomes[wanted],
            {part: tokens[wanted] for part, tokens in self.tokens.items()},
            {asked: verdicts[wanted] for asked, verdicts in self.verdicts.items()},
        )


def rows_by_setting(
    samples: Iterable[pa.Table], added: Iterable[pa.Table], settings: Sequence[Setting], asked: Asked
) -> dict[str, SettingRows]:
    """The rows of all tables by setting_id, in any order.

    `samples` are tables with ANALYSED_COLUMNS. `added` are tables of `VERDICTS_SCHEMA`, joined on sample_id. If a
    sample has two verdicts of one judge on one part, the later one counts.

    Raises:
        InputError: a sample occurs twice.
    """
    rows, verdicts = [], []
    for table in samples:
        rows.append(table.drop_columns("verdicts"))
        verdicts.append(_own_verdicts(table))
    if not rows:
        return {setting.setting_id: _nothing(setting, asked) for setting in settings}
    whole = pa.concat_tables(rows)
    if pc.count_distinct(whole["sample_id"]).as_py() < whole.num_rows:
        raise InputError("Samples occur twice. Fix: rerun the run's own command, which keeps one row of each sample.")
    columns = _columns(whole)
    unsafe_column = _verdict_columns(
        whole["sample_id"],
        pa.concat_tables([*verdicts, *(table.select(_VERDICT_SCHEMA.names) for table in added)]),
        asked,
    )
    everything = SettingRows(samples=0, **columns, verdicts=unsafe_column)
    setting_ids = _texts(whole["setting_id"])
    found = {}
    for setting in settings:
        of_setting = everything.filter(setting_ids == setting.setting_id)
        found[setting.setting_id] = SettingRows(
            setting.samples,
            of_setting.prompts,
            of_setting.categories,
            of_setting.outcomes,
            of_setting.tokens,
            of_setting.verdicts,
        )
    return found


def codes(column: pa.ChunkedArray) -> Ints:
    """A number for each value, from 0; equal values have equal numbers."""
    encoded = column.combine_chunks().dictionary_encode()
    numbers: Ints = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _nothing(setting: Setting, asked: Asked) -> SettingRows:
    texts = np.array([], dtype=object)
    return SettingRows(
        setting.samples,
        np.array([], dtype=np.int64),
        texts,
        texts,
        {"thought": np.array([]), "answer": np.array([])},
        {pair: np.array([], dtype=np.int8) for pair in asked},
    )


def _columns(table: pa.Table) -> dict[str, Any]:
    # A prompt in two settings has one number, because settings are analysed one by one.
    return {
        "prompts": codes(table["prompt_id"]),
        "categories": _texts(table["category"]),
        "outcomes": _texts(table["outcome"]),
        "tokens": {
            part: pc.cast(table[f"{part}_tokens"], pa.float64()).to_numpy().astype(np.float64)
            for part in ("thought", "answer")
        },
    }


def _texts(column: pa.ChunkedArray) -> Texts:
    return np.asarray(column.to_pylist(), dtype=object)


def _own_verdicts(table: pa.Table) -> pa.Table:
    """One row per verdict of the samples in `table`."""
    table = table.select(["sample_id", "verdicts"]).combine_chunks()
    samples = table["sample_id"].take(pc.list_parent_indices(table["verdicts"]))
    verdicts = pc.list_flatten(table["verdicts"])
    fields = [pc.struct_field(verdicts, name) for name in _VERDICT_SCHEMA.names[1:]]
    return pa.table([samples, *fields], schema=_VERDICT_SCHEMA)


def _verdict_columns(sample_ids: pa.ChunkedArray, verdicts: pa.Table, asked: Asked) -> dict[tuple[str, Part], Verdicts]:
    ids = sample_ids.combine_chunks()
    columns = {}
    for judge, part in asked:
        of_pair = verdicts.filter((pc.field("judge") == judge) & (pc.field("part") == part))
        positions = pc.index_in(of_pair["sample_id"], value_set=ids)
        known = positions.is_valid().to_numpy()
        unsafe_column = pc.fill_null(pc.cast(of_pair["unsafe"], pa.int8()), MISSING).to_numpy()
        column = np.full(len(ids), MISSING, dtype=np.int8)
        column[positions.drop_null().to_numpy()] = unsafe_column[known]
        columns[judge, part] = column
    return columns


def share(rows: SettingRows, of: Bools, among: Bools) -> Estimate:
    """The share of samples `of` among the samples `among`, as a ratio of sums over the setting."""
    return clustered_share(rows.prompts, of, among, clustered=rows.samples > 1)


def clustered_share(prompts: Ints, of: Bools, among: Bools, *, clustered: bool) -> Estimate:
    """The share of samples with the given prompt numbers: a ratio of sums over prompts.

    The interval is a bootstrap over prompts, or Wilson's if they are not `clustered` (K = 1). `n` counts the prompts
    with a sample `among`; without any the value is None.
    """
    denominators = np.bincount(prompts[among])
    numerators = np.bincount(prompts[among & of], minlength=len(denominators))
    pairs = zip(numerators.tolist(), denominators.tolist(), strict=True)
    units = Counter(pair for pair in pairs if pair[1])
    return share_estimate(units, clustered=clustered, seed=0)
