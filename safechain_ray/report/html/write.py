"""Writes a run's report: beside the run's other files, or wherever it is asked for."""

from safechain_ray.errors import InputError
from safechain_ray.pipelines.run_folder import RunFolder, read_metrics
from safechain_ray.report.html.page import run_page
from safechain_ray.report.html.samples import WITH_TEXT, pack_samples
from safechain_ray.storage import open_folder, redact, write_uri

REPORT = "report.html"


def write_report(run: str, target: str | None = None, with_text: int = WITH_TEXT) -> str:
    """Make the report of the run in the folder or URI `run`, with the texts of at most `with_text` samples.

    `target` is the file's path or URI; else it is `report.html` in the run's folder. Gives where it was written, without
    secrets. Raises InputError where there is no run, or one that has not ended.
    """
    metrics = read_metrics(run)
    folder = RunFolder(open_folder(run))
    record = folder.read_run()
    if record is None:
        raise InputError(f"{folder.folder} has no run.json beside its metrics.json: copy the whole folder of the run.")
    page = run_page(metrics, record, pack_samples(folder, metrics, with_text)).encode()
    if target is not None:
        write_uri(target, page)
        return redact(target)
    folder.folder.write_bytes(REPORT, page)
    return f"{folder.folder}/{REPORT}"
