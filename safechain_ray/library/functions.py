"""The functions of the Python API: the commands' work, with config keys as arguments and a `Run` as the result.

The commands are imported while output is redirected: Ray and vLLM print messages when they are imported.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safechain_ray.cluster.session import ray_session
from safechain_ray.config import ImportConfig, JudgingConfig, RunConfig, SweepConfig, config_path, read_config_as
from safechain_ray.config.base import ARGUMENTS
from safechain_ray.errors import InputError
from safechain_ray.library.progress import shown_progress
from safechain_ray.library.results import Run, load_run
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.types.model_errors import AnyModel

ConfigFile = str | Path | None


def evaluate(
    config: RunConfig | ConfigFile = None, *, profile: str | None = None, progress: bool = True, **keys: Any
) -> Run:
    """Generate, judge and measure: one model, all settings, as `safechain-ray evaluate`.

    `keys` are keys of the config (docs site, Config keys). They win over the file `config` and its `profile`. Call it
    again with the same keys to resume. `progress` shows the progress in the notebook or on the terminal.

    Raises:
        InputError: A key, a name or a file is wrong. Nothing was started.
        SafechainError: The run failed. Finished samples stay in the folder.

    Example:
        >>> run = evaluate(
        ...     model="demo-reasoner",
        ...     datasets=["quickstart"],
        ...     samples=5,
        ...     sampling={"temperature": 0.6, "max_tokens": 600},
        ...     judges=["demo-guard"],
        ...     output="runs/mine",
        ... )
        >>> run.figures.to_pandas()[["judge", "safe_at_1", "safe_at_1_low", "safe_at_1_high"]]
    """
    read = _config(RunConfig, config, profile, keys)
    with shown_progress(progress) as reporter:
        from safechain_ray.commands.evaluate import evaluate as run_evaluation
        from safechain_ray.engines.vllm import start_vllm

        return Run(run_evaluation(read, reporter, start_vllm).folder)


def judge(run: Run | str | Path, *, progress: bool = True, **keys: Any) -> Run:
    """Add judges, or parts to judge, to a finished run, as `safechain-ray judge`. No response is generated again.

    `keys`: `judges`, `parts`, `resources`. Raises the errors of `evaluate`.

    Example:
        >>> judge("runs/mine", judges=["refusal-match"], parts=["answer"])
    """
    read = _config(JudgingConfig, None, None, keys)
    with shown_progress(progress) as reporter:
        from safechain_ray.commands.judge import add_judges
        from safechain_ray.engines.vllm import start_vllm

        return Run(add_judges(_uri(run), read, reporter, start_vllm).folder)


def import_responses(source: str | Path, *, progress: bool = True, **keys: Any) -> Run:
    """Make a run of responses that exist already, as `safechain-ray import`.

    `source` is a file, a URI, a hub id, or a name of `safechain-ray list responses`. `keys` name columns, model and
    output. Raises the errors of `evaluate`.

    Example:
        >>> run = import_responses("mine.jsonl", response_column="reply", output="runs/imported")
        >>> judge(run, judges=["refusal-match"])
    """
    read = _config(ImportConfig, None, None, {"source": str(source), **keys})
    with shown_progress(progress) as reporter:
        from safechain_ray.commands.import_responses import import_responses as run_import

        return Run(run_import(read, reporter).folder)


@dataclass(frozen=True)
class Sweep:
    """A sweep: the runs of the models that are done, and why the others are not."""

    uri: str = field(repr=False)  # it may have secrets
    runs: Mapping[str, Run]
    failed: Mapping[str, str]
    """The error of each model that failed."""
    queued: tuple[str, ...]
    """Models that are not done, for example at a deadline. Call `sweep` again to run them."""

    def write_report(self) -> str:
        """Write the pages of the sweep and of its runs. Returns the path or URI of the sweep's page."""
        from safechain_ray.report.html.write import write_sweep_report
        from safechain_ray.storage import open_folder

        for run in self.runs.values():
            run.write_report()
        return write_sweep_report(open_folder(self.uri))


def sweep(
    config: SweepConfig | ConfigFile = None, *, profile: str | None = None, progress: bool = True, **keys: Any
) -> Sweep:
    """Evaluate many models under the same settings, as `safechain-ray sweep`.

    A model that fails is recorded, and the others continue. Raises the errors of `evaluate`.

    Example:
        >>> done = sweep("paper/main_table", profile="demo", output="runs/sweep")
        >>> {name: run.metrics.settings[0].judges[0].safe_at_1.value for name, run in done.runs.items()}
    """
    read = _config(SweepConfig, config, profile, keys)
    with shown_progress(progress) as reporter:
        from safechain_ray.commands.sweep.sweep import sweep as run_sweep
        from safechain_ray.engines.vllm import start_vllm

        done = run_sweep(read, reporter, start_vllm)
    return Sweep(
        uri=done.folder.uri,
        runs={each.model: load_run((done.folder / each.folder).uri) for each in done.models if each.status == "done"},
        failed={each.model: each.error or "" for each in done.models if each.status == "failed"},
        queued=tuple(each.model for each in done.models if each.status == "queued"),
    )


def compare(*runs: Run | str | Path, baseline: str | None = None) -> Comparison:
    """Paired differences of each further run to the first one, as `safechain-ray compare`.

    With one run, `baseline` is the strategy that its other strategies are compared with. Raises InputError for runs
    without a common setting, judge or prompt.

    Example:
        >>> compare("runs/mine", baseline="default").pairs[0].judges[0].differences
    """
    from safechain_ray.commands.compare import compare_runs, compare_strategies

    if len(runs) > 1 and baseline is None:
        return compare_runs([_uri(run) for run in runs])
    if len(runs) == 1 and baseline is not None:
        return compare_strategies(_uri(runs[0]), baseline)
    raise InputError("A comparison needs two runs, or one run and a baseline. Fix: give a second run, or `baseline`.")


@contextmanager
def session(address: str | None = None) -> Iterator[None]:
    """Keep one Ray session for all calls of the block, so that it starts once. `address` is that of a cluster.

    Example:
        >>> with session():
        ...     run = evaluate(model="demo-reasoner", datasets=["quickstart"], judges=["demo-guard"])
        ...     judge(run, judges=["refusal-match"])
    """
    with ray_session(address):
        yield


def _config(model: type[AnyModel], config: Any, profile: str | None, keys: Mapping[str, Any]) -> AnyModel:
    """The config of a call. Raises InputError for a wrong key, and for keys beside a config object."""
    if isinstance(config, model):
        if keys or profile:
            raise InputError(
                f"{type(config).__name__} has all keys already. Fix: give keys or a config, not both; "
                "`config.model_copy(update=...)` changes one."
            )
        return config
    if config is not None and not isinstance(config, str | Path):
        raise InputError(
            f"The config is a {type(config).__name__}. Fix: give a {model.__name__}, the path of a file, or keys as "
            "arguments: `**keys`."
        )
    path = None if config is None else config_path(config)
    return read_config_as(model, path, dict(_dotted(keys)), profile=profile, origin=ARGUMENTS)


def _dotted(keys: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys of mappings inside mappings as `sampling.top_p`: those of a file that are not given stay."""
    for key, value in keys.items():
        if isinstance(value, Mapping) and value:
            yield from _dotted(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", _plain(value)


def _plain(value: Any) -> Any:
    """The value with paths as text, as in a file."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _uri(run: Run | str | Path) -> str:
    return run.uri if isinstance(run, Run) else str(run)
