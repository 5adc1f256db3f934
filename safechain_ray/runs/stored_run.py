"""What run.json may hold, by its types: checked once, where it is read, so that nothing else has to.

Keys of later versions pass, and keys that earlier versions did not write may be absent.

How far a try at work is, as its driver notes it in run.json for whoever reads the folder from elsewhere.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, model_validator

from safechain_ray.catalog.entries import Family
from safechain_ray.storage import Folder, InsideName, read_checked_tree
from safechain_ray.types import Part, Setting

RUN_FILE = "run.json"

MOST_ROWS = 10**12

"""More rows than a run can have: a count beyond it is damage."""

Count = Annotated[StrictInt, Field(ge=0, le=MOST_ROWS)]

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _moment(text: str) -> str:
    """Raises ValueError for what is no time with its zone: two times could not be compared."""
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("the time has no time zone")
    return text


Moment = Annotated[StrictStr, AfterValidator(_moment)]

RESTORE_RUN = "restore run.json from a copy, or give another --output to start again."


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class StoredModel(_Stored):
    """A model as the identity of a run has it."""

    name: StrictStr
    source: StrictStr | None = None
    revision: StrictStr | None = None
    dtype: StrictStr | None = None
    api_model: StrictStr | None = None
    base_url: StrictStr | None = None


class StoredJudge(_Stored):
    """A judge as the identity of a run has it."""

    name: StrictStr
    kind: StrictStr = ""
    judges: tuple[StrictStr, ...] | None = None


class StoredVote(_Stored):
    name: StrictStr
    rule: StrictStr
    judges: tuple[StrictStr, ...]


class StoredIdentity(_Stored):
    """What a run is. Preferences have `run_a` and `run_b` in place of a model, a study has `labelled`."""

    model: StoredModel | None = None
    family: Family | None = None
    settings: tuple[Setting, ...] | None = None
    judges: tuple[StoredJudge, ...] | None = None
    votes: tuple[StoredVote, ...] = ()
    parts: tuple[Part, ...] | None = None
    run_a: "StoredIdentity | None" = None
    run_b: "StoredIdentity | None" = None

    @property
    def is_preference(self) -> bool:
        return self.run_a is not None or self.run_b is not None


class StoredDataset(_Stored):
    """A data set of a run: where it comes from and how many prompts it has."""

    prompts: Count
    hash: StrictStr
    source: StrictStr = ""
    benign_categories: tuple[StrictStr, ...] | None = None
    benign_prompts: Count = 0
    benign_added: dict[StrictStr, Count] = {}


class StoredNode(_Stored):
    node: StrictStr
    cpus: Amount
    gpus: Amount
    memory_gigabytes: Amount


class StoredAttempt(_Stored):
    """One attempt at a run. What a driver notes of its progress (`progress_record`) is read by `status` alone."""

    started: Moment
    ended: Moment | None = None
    status: StrictStr
    command: StrictStr | None = None
    rows_found: Count = 0
    hardware: tuple[StoredNode, ...] = ()
    versions: dict[StrictStr, StrictStr] = {}
    pools: dict[StrictStr, dict[StrictStr, StrictInt]] = {}


class AddedJudge(_Stored):
    """A judge that was added to a finished run."""

    identity: StoredJudge
    parts: tuple[Part, ...]


class PiecesJudge(_Stored):
    identity: StoredJudge


class StoredData(_Stored):
    """The labelled responses of a judge study."""

    name: StrictStr


class StoredRun(_Stored):
    """The content of run.json."""

    identity: StoredIdentity
    config: dict[StrictStr, Any] = {}
    datasets: dict[StrictStr, StoredDataset] = {}
    data: StoredData | None = None
    rows: Count | None = None
    pairs: Count | None = None
    tries: tuple[StoredAttempt, ...] = ()
    finished_tries: Count | None = None
    added: dict[InsideName, AddedJudge] = {}
    pieces: dict[InsideName, PiecesJudge] = {}
    incomplete_judges: dict[InsideName, StoredJudge] = {}
    graders: dict[StrictStr, StrictInt] = {}
    outcomes: dict[StrictStr, Count] = {}
    tokens: dict[StrictStr, Count] = {}
    cost_dollars: Amount | None = None
    updated: Moment | None = None
    finished: Moment | None = None
    safechain_ray: StrictStr = ""
    git_revision: StrictStr | None = None

    @model_validator(mode="after")
    def _of_a_kind(self) -> Self:
        """Raises ValueError for an identity without a subject."""
        identity = self.identity
        if identity.is_preference:
            if any(side is None or side.model is None for side in (identity.run_a, identity.run_b)):
                raise ValueError("a run that is compared has no model in it")
        elif "labelled" in (identity.model_extra or {}):
            if self.data is None:
                raise ValueError("the study has no data in it")
        elif identity.model is None:
            raise ValueError("its identity has no model")
        if self.finished and identity.settings and "benchmarks" not in (identity.model_extra or {}):
            self._check_settings(identity.settings)
        return self

    def _check_settings(self, settings: tuple[Setting, ...]) -> None:
        """Raises ValueError where a finished run lacks what its figures need beside the settings."""
        for key in ("family", "judges", "parts"):
            if getattr(self.identity, key) is None:
                raise ValueError(f"its identity has no {key}")
        for setting in settings:
            if setting.dataset not in self.datasets:
                raise ValueError(f"datasets has no {setting.dataset}, which a setting names")


def read_stored_run(folder: Folder) -> dict[str, Any]:
    """The content of the folder's run.json. Raises InputError for a file that is no record of a run."""
    return read_checked_tree(folder, RUN_FILE, StoredRun, "record of a run", RESTORE_RUN)


class ProgressRecord(BaseModel):
    """Stage `stage` of `stages`: `done_before` of `total` rows were finished when it began, `committed` since then.

    `counts` are those of all finished rows (`cluster.commit.COMMITTED` and each judge's verdicts); `ready` are the
    replicas of each pool. `seconds` count from the stage's start; the speeds are those of `throughput.Pace`.
    """

    model_config = ConfigDict(frozen=True)

    stage: int = 1
    stages: int = 1
    pools: tuple[str, ...] = ()
    total: int
    done_before: int
    committed: int
    counts: Mapping[str, int]
    ready: Mapping[str, int] = {}
    seconds: float
    tokens_per_second: float | None = None
    rows_per_second: float | None = None

    @property
    def done(self) -> int:
        return self.done_before + self.committed

    @property
    def seconds_to_go(self) -> float | None:
        """Until the stage's last row, at the speed of the last minutes; None where nothing tells."""
        if not self.rows_per_second:
            return None
        return (self.total - self.done) / self.rows_per_second
