"""A finished run as an object: its figures, and its samples and verdicts as Arrow, pandas or `datasets` tables."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.metrics.safety import Metric
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SettingMetrics, as_setting
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.run_manifest import metrics_of
from safechain_ray.storage import open_folder
from safechain_ray.types import SAMPLES_SCHEMA, VERDICTS_SCHEMA, verdicts_table

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

Columns = Sequence[str] | None

METRICS = ("safe_at_1", "cons_safe_at_k", "safe_at_k")


@dataclass(frozen=True)
class Rows:
    """Rows that are read when they are asked for. `columns` of None are all; an unknown one raises InputError.

    Example:
        >>> run.samples.columns[:2]
        ('sample_id', 'setting_id')
        >>> run.samples.to_pandas(columns=["prompt", "answer"]).head()
    """

    schema: pa.Schema
    read: Callable[[Sequence[str]], Iterator[pa.Table]] = field(repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.schema.names)

    def tables(self, columns: Columns = None) -> Iterator[pa.Table]:
        """The rows in tables of bounded size: all of them may not fit in memory."""
        return self.read(self._wanted(columns))

    def to_arrow(self, columns: Columns = None) -> pa.Table:
        wanted = self._wanted(columns)
        tables = list(self.read(wanted))
        schema = pa.schema([self.schema.field(name) for name in wanted])
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def to_pandas(self, columns: Columns = None) -> "pd.DataFrame":
        frame: pd.DataFrame = self.to_arrow(columns).to_pandas()
        return frame

    def to_dataset(self, columns: Columns = None) -> "Dataset":
        """The rows as a Hugging Face `datasets.Dataset`, in memory."""
        from datasets import Dataset

        return Dataset(self.to_arrow(columns))

    def _wanted(self, columns: Columns) -> tuple[str, ...]:
        if isinstance(columns, str):
            raise InputError(f"columns: {columns!r} is a text. Fix: give a list, such as [{columns!r}].")
        wanted = self.columns if columns is None else tuple(dict.fromkeys(columns))
        for name in wanted:
            if name not in self.columns:
                raise UnknownNameError("column", str(name), self.columns)
        return wanted


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A finished run: what `evaluate`, `judge`, `import_responses` and `load_run` return.

    Figures and rows are read from the folder each time, so that judges that are added later are there.

    Example:
        >>> run = load_run("runs/demo")
        >>> run.figures.to_pandas()[["strategy", "judge", "safe_at_1"]]
        >>> run.verdicts.to_pandas().groupby("judge").unsafe.mean()
    """

    folder: RunFolder

    @property
    def uri(self) -> str:
        """The folder's path or URI."""
        return self.folder.folder.uri

    @property
    def metrics(self) -> RunMetrics:
        """All figures as one tree, as in `metrics.json`."""
        return metrics_of(self.uri)

    @property
    def samples(self) -> Rows:
        """One row for each sample, with its verdicts as a list (docs/columns.md)."""
        return Rows(SAMPLES_SCHEMA, self.folder.counted_samples)

    @property
    def verdicts(self) -> Rows:
        """One row for each verdict: the run's own judges, and those that were added later."""
        return Rows(VERDICTS_SCHEMA, self._verdicts)

    @property
    def figures(self) -> Rows:
        """One row for each setting, judge and part, with each metric and its 95% interval, as shares of 1."""
        rows = [_figure_row(setting, judge) for setting in self.metrics.settings for judge in setting.judges]
        table = pa.Table.from_pylist(rows, FIGURES_SCHEMA)
        return Rows(FIGURES_SCHEMA, lambda columns: iter([table.select(columns)]))

    def write_report(self, target: str | None = None) -> str:
        """Write the HTML report, by default `report.html` in the folder. Returns its path or URI."""
        from safechain_ray.report.html.write import write_report

        return write_report(self.folder.folder, target)

    def __repr__(self) -> str:
        return f"Run({str(self.folder.folder)!r})"  # without the secrets of a URI

    def _repr_html_(self) -> str:
        """The tables of the run, for a notebook."""
        from safechain_ray.report.html.elements import document_tables
        from safechain_ray.report.tables import metrics_document

        return document_tables(metrics_document(self.metrics))

    def _verdicts(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        for table in self.folder.counted_samples(SAMPLES_SCHEMA.names):
            yield verdicts_table(table).select(columns)
        manifest = RunRecord.of_finished(self.folder).run_manifest
        pairs = pa.array([f"{judge}:{part}" for judge, part in manifest.added], pa.string())
        for table in self.folder.added_verdicts(manifest.added_judges):
            # An interrupted command leaves verdicts on a part that the judge has not judged in every sample.
            pair = pc.binary_join_element_wise(table["judge"], table["part"], ":")
            yield table.filter(pc.is_in(pair, pairs)).select(columns)


def load_run(uri: str | Path) -> Run:
    """The finished run in a folder: a path, or a URI such as `s3://bucket/runs/r1-7b`.

    Raises:
        InputError: There is no run, or it has not ended.

    Example:
        >>> samples = load_run("runs/demo").samples.to_pandas()
    """
    run = RunFolder(open_folder(str(uri)))
    RunRecord.of_finished(run)
    return Run(run)


def _metric_fields(name: str) -> list[pa.Field]:
    return [pa.field(f"{name}{suffix}", pa.float64()) for suffix in ("", "_low", "_high")]


FIGURES_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("setting_id", "dataset", "strategy")),
        *(pa.field(name, pa.float64()) for name in ("temperature", "top_p")),
        pa.field("samples", pa.int64()),
        *(pa.field(name, pa.string()) for name in ("judge", "part")),
        *(pa.field(name, pa.int64()) for name in ("rows", "prompts", "missing")),
        *(each for name in (*METRICS, "over_refusal") for each in _metric_fields(name)),
    ]
)
"""The columns of `Run.figures`. `samples` is K. `prompts` and `missing` are those of harmful prompts."""


def _figure_row(setting: SettingMetrics, judge: JudgeMetrics) -> dict[str, Any]:
    refusals = setting.over_refusal
    row: dict[str, Any] = {
        "setting_id": setting.setting_id,
        "dataset": setting.dataset,
        "strategy": as_setting(setting).strategy.label,
        "temperature": setting.sampling["temperature"],
        "top_p": setting.sampling["top_p"],
        "samples": setting.samples,
        "judge": judge.judge,
        "part": judge.part,
        "rows": setting.rows,
        "prompts": judge.prompts,
        "missing": judge.missing,
    }
    for name in METRICS:
        row |= _figure(name, getattr(judge, name))
    return row | _figure("over_refusal", None if refusals is None else refusals.refused)


def _figure(name: str, metric: Metric | None) -> dict[str, float | None]:
    if metric is None:
        return {}
    return {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
