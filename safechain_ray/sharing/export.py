"""Export of a run as logs of Inspect (`.eval`), one log a setting, written by Inspect's own writer.

Known trade-off: Inspect's public writer takes the samples of a log at once. A log has at most `samples_per_log`
samples, so that memory is bounded, and larger settings are split by prompts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from inspect_ai.log import EvalSample, write_eval_log

from safechain_ray.metrics.safety import PromptKinds
from safechain_ray.sharing.inspect_log import log_header, log_id, log_name, measured
from safechain_ray.sharing.inspect_samples import SampleContext, eval_sample
from safechain_ray.sharing.published import Cleaner, published_run, without_place
from safechain_ray.sharing.run import SharedRun
from safechain_ray.sharing.spool import Spool, plan_parts
from safechain_ray.storage import open_folder
from safechain_ray.types import VERDICT_TYPE, Verdict, samples_from_table


@dataclass(frozen=True)
class Exported:
    """The end of an export: the logs by name, with their numbers of samples. `split` settings have several logs."""

    location: str
    logs: dict[str, int]
    split: tuple[str, ...]


def export_inspect(run: SharedRun, uri: str, samples_per_log: int, report: Callable[[str], None]) -> Exported:
    """Write the logs of a run to the folder `uri`. Earlier logs of the run there are replaced; others stay.

    `report` gets the name of each log before it is written.

    Raises:
        InputError: The run would be too many logs, or has no samples.
        StorageError: The folder can't be written.
    """
    run.folder.check_samples()
    target = open_folder(uri)
    target.check_writable()
    parts = plan_parts(run, samples_per_log)
    record = published_run(run.run_file, Cleaner.of(run.run_file))
    logs = {}
    with TemporaryDirectory(prefix="safechain-ray-export-") as folder:
        spool = Spool(Path(folder), parts)
        spool.fill(run)
        for number, part in enumerate(parts):
            name = log_name(run, part)
            report(name)
            samples, verdicts = spool.samples(number), spool.verdicts(number)
            log = log_header(run, record, part, *measured(samples, verdicts, part, run))
            log.samples = _samples(samples, verdicts, run, part.setting.dataset)
            local = Path(folder, name)
            write_eval_log(log, str(local), "eval")
            target.upload(local, name)
            local.unlink()
            logs[name] = len(log.samples)
    ids = {log_id(run, setting) for setting in run.manifest.settings}
    for earlier in target.list_files(".eval"):
        if earlier not in logs and any(f"_{each}" in earlier for each in ids):
            target.delete(earlier)
    split = tuple(dict.fromkeys(part.setting.setting_id for part in parts if not part.is_whole))
    return Exported(str(target), logs, split)


def _samples(samples: pa.Table, verdicts: pa.Table, run: SharedRun, dataset: str) -> list[EvalSample]:
    manifest = run.manifest
    kinds = manifest.kinds.get(dataset, PromptKinds())
    model, prompt = without_place(manifest.model), manifest.family.system_prompt
    context = SampleContext(model, prompt, kinds, manifest.refusal_judges)
    added = _by_sample(verdicts)
    return [
        eval_sample(sample, (*sample.verdicts, *added.get(sample.sample_id, ())), context)
        for sample in samples_from_table(samples)
    ]


def _by_sample(verdicts: pa.Table) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for row in verdicts.to_pylist():
        fields = {field.name: row[field.name] for field in VERDICT_TYPE}
        verdict = Verdict(**{**fields, "categories": tuple(fields["categories"] or ())})
        found.setdefault(row["sample_id"], []).append(verdict)
    return found
