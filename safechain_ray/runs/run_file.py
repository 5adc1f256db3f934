"""The typed content of run.json: read once, checked as a whole, rewritten without losing a key.

Guarantees:
1. A file that does not fit these types is refused in one sentence that names the key.
2. Keys of later versions stay in the file. Keys that earlier versions did not write may be absent.
3. An identity is compared and rewritten as the JSON tree that was read.

`runs/record.py` alone writes the file.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, StrictInt, StrictStr, TypeAdapter, ValidationError, model_validator

from safechain_ray.catalog.entries import Family
from safechain_ray.storage import Folder, InsideName, read_record
from safechain_ray.storage.records import Amount, Count, Moment, Stored, StoredTree
from safechain_ray.types import Part, Setting

RUN_FILE = "run.json"

RESTORE_RUN = "restore run.json from a copy, or give another --output to start again."

Kind = Literal["run", "benchmark", "judge study", "preferences"]


class ModelIdentity(Stored):
    """A model in the identity of a run."""

    name: StrictStr
    source: StrictStr | None = None
    revision: StrictStr | None = None
    dtype: StrictStr | None = None
    api_model: StrictStr | None = None
    base_url: StrictStr | None = None


class JudgeIdentity(StoredTree):
    """A judge in the identity of a run. `judges` are those of a vote."""

    name: StrictStr
    kind: StrictStr = ""
    judges: tuple[StrictStr, ...] | None = None


class VoteIdentity(StoredTree):
    name: StrictStr
    rule: StrictStr
    judges: tuple[StrictStr, ...]


class RunIdentity(StoredTree):
    """All that changes the results of a run. Preferences have two runs in place of a model, a study has `labelled`."""

    model: ModelIdentity | None = None
    family: Family | None = None
    settings: tuple[Setting, ...] | None = None
    judges: tuple[JudgeIdentity, ...] | None = None
    votes: tuple[VoteIdentity, ...] = ()
    parts: tuple[Part, ...] | None = None
    benchmarks: dict[StrictStr, Any] | None = None
    labelled: StrictStr | None = None
    run_a: "RunIdentity | None" = None
    run_b: "RunIdentity | None" = None

    @property
    def kind(self) -> Kind:
        if self.run_a is not None or self.run_b is not None:
            return "preferences"
        if self.benchmarks is not None:
            return "benchmark"
        return "judge study" if self.labelled is not None else "run"

    @property
    def model_name(self) -> str:
        return "" if self.model is None else self.model.name


class StoredDataset(Stored):
    """A data set of a run: its source and its number of prompts.

    `benign_added` has the categories that were called benign after the run, with their prompts.
    """

    prompts: Count
    hash: StrictStr
    source: StrictStr = ""
    benign_categories: tuple[StrictStr, ...] | None = None
    benign_prompts: Count = 0
    benign_added: dict[StrictStr, Count] = Field(default_factory=dict)

    @property
    def has_kinds(self) -> bool:
        """Whether the run noted which categories are benign. Runs of earlier versions did not."""
        return "benign_categories" in self.model_fields_set


class StoredNode(Stored):
    node: StrictStr
    cpus: Amount
    gpus: Amount
    memory_gigabytes: Amount


class ProgressRecord(Stored):
    """Progress of stage `stage` of `stages`, as the driver notes it every few seconds.

    `done_before` of `total` rows were finished when the stage began, and `committed` since then. `counts` are those of
    all finished rows (`cluster.commit.COMMITTED` and each judge's verdicts). `ready` has the replicas of each pool.
    `seconds` count from the start of the stage. The rates are those of `progress.Throughput`.
    """

    stage: int = 1
    stages: int = 1
    pools: tuple[str, ...] = ()
    total: int
    done_before: int
    committed: int
    counts: Mapping[str, int]
    ready: Mapping[str, int] = Field(default_factory=dict)
    seconds: float
    tokens_per_second: float | None = None
    rows_per_second: float | None = None

    @property
    def done(self) -> int:
        return self.done_before + self.committed

    @property
    def seconds_left(self) -> float | None:
        """Until the stage's last row, at the rate of the last minutes; None where the rate is unknown."""
        if not self.rows_per_second:
            return None
        return (self.total - self.done) / self.rows_per_second


class PlannedPool(Stored):
    """A pool of an attempt's plan. Earlier versions did not note the GPUs of a replica."""

    device: StrictStr
    replicas: Count
    gpus: Count | None = None


_STAGES = TypeAdapter(tuple[tuple[PlannedPool, ...], ...])


class StoredAttempt(Stored):
    """One attempt at a run. `command` names a command that works on a finished run."""

    started: Moment
    ended: Moment | None = None
    status: StrictStr
    command: StrictStr | None = None
    rows_found: Count = 0
    stages: JsonValue = None
    hardware: tuple[StoredNode, ...] = ()
    versions: dict[StrictStr, StrictStr] = Field(default_factory=dict)
    pools: dict[StrictStr, dict[StrictStr, StrictInt]] = Field(default_factory=dict)
    live: ProgressRecord | JsonValue = Field(default=None, union_mode="left_to_right")

    @property
    def progress(self) -> ProgressRecord | None:
        """The last progress noted; None before the first note, and where another version noted it otherwise."""
        return self.live if isinstance(self.live, ProgressRecord) else None

    @property
    def gpus(self) -> int:
        """The GPUs of the plan, in the stage with most of them; 0 where another version noted the plan otherwise."""
        try:
            stages = _STAGES.validate_python(self.stages or ())
        except ValidationError:
            return 0
        on_gpus = ([pool for pool in stage if pool.device == "cuda"] for stage in stages)
        return max((sum(pool.replicas * (pool.gpus or 1) for pool in stage) for stage in on_gpus), default=0)

    @property
    def last_moment(self) -> datetime:
        """Its end; of an attempt that was cut off, the last moment that it noted."""
        if self.ended is not None or self.progress is None:
            return self.ended or self.started
        return self.started + timedelta(seconds=self.progress.seconds)

    @property
    def microdollars(self) -> list[int]:
        """Paid to providers by each pool, in millionths of a dollar; empty where engines are one's own."""
        return [counts["cost_microdollars"] for counts in self.pools.values() if "cost_microdollars" in counts]


class LaterJudge(Stored):
    """A judge of a finished run, noted when all its verdicts are there."""

    identity: JudgeIdentity


class AddedJudge(LaterJudge):
    """A judge that was added to a finished run: its verdicts count like those of the run's own judges."""

    parts: tuple[Part, ...]


class StoredData(Stored):
    """The labelled responses of a judge study."""

    name: StrictStr


class RunFile(Stored):
    """The content of run.json. Fields with an alias have that key in the file.

    `run_id` is drawn once, for experiment trackers. Earlier versions wrote none.
    """

    identity: RunIdentity
    run_id: StrictStr = ""
    config: dict[StrictStr, Any] = Field(default_factory=dict)
    datasets: dict[StrictStr, StoredDataset] = Field(default_factory=dict)
    data: StoredData | None = None
    rows: Count | None = None
    pairs: Count | None = None
    graders: dict[StrictStr, StrictInt] = Field(default_factory=dict)
    safechain_ray: StrictStr = ""
    git_revision: StrictStr | None = None
    attempts: tuple[StoredAttempt, ...] = Field(default=(), alias="tries")
    finished: Moment | None = None
    finished_attempts: Count | None = Field(default=None, alias="finished_tries")
    outcomes: dict[StrictStr, Count] = Field(default_factory=dict)
    tokens: dict[StrictStr, Count] = Field(default_factory=dict)
    cost_dollars: Amount | None = None
    added: dict[InsideName, AddedJudge] = Field(default_factory=dict)
    prefix_judges: dict[InsideName, LaterJudge] = Field(default_factory=dict, alias="pieces")
    incomplete_judges: dict[InsideName, JudgeIdentity] = Field(default_factory=dict)
    updated: Moment | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        """Raises ValueError for an identity without a subject."""
        identity = self.identity
        match identity.kind:
            case "preferences":
                if any(side is None or side.model is None for side in (identity.run_a, identity.run_b)):
                    raise ValueError("a run that is compared has no model in it")
            case "judge study":
                if self.data is None:
                    raise ValueError("the study has no data in it")
            case "run" | "benchmark":
                if identity.model is None:
                    raise ValueError("its identity has no model")
        if self.finished and identity.settings and identity.benchmarks is None:
            self._check_settings(identity.settings)
        return self

    def _check_settings(self, settings: tuple[Setting, ...]) -> None:
        """Raises ValueError where a finished run lacks a key that its figures need beside the settings."""
        for key in ("family", "judges", "parts"):
            if getattr(self.identity, key) is None:
                raise ValueError(f"its identity has no {key}")
        for setting in settings:
            if setting.dataset not in self.datasets:
                raise ValueError(f"datasets has no {setting.dataset}, which a setting names")

    @property
    def kind(self) -> Kind:
        return self.identity.kind

    @property
    def subject(self) -> str:
        """The model of a run, the data of a study, both models of a comparison."""
        identity = self.identity
        if identity.run_a is not None and identity.run_b is not None:
            return f"{identity.run_a.model_name} or {identity.run_b.model_name}"
        return identity.model_name if self.data is None else self.data.name

    @property
    def total_rows(self) -> int | None:
        """Rows of the complete run; None in records without the number."""
        return self.pairs if self.rows is None else self.rows

    @property
    def own_attempts(self) -> tuple[StoredAttempt, ...]:
        """The attempts of the command that the run belongs to, without those of `judge`."""
        return tuple(each for each in self.attempts if each.command is None)


def read_run_file(folder: Folder) -> RunFile:
    """The folder's run.json. Raises InputError for a file that is no record of a run."""
    return read_record(folder, RUN_FILE, RunFile, "record of a run", RESTORE_RUN)
