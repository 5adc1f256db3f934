"""Writes a run's report: beside the run's other files, or wherever it is asked for."""

from safechain_ray.analysis.fine_grained import FineGrained
from safechain_ray.errors import InputError
from safechain_ray.pipelines.fine_grained import ANALYSIS_FILE
from safechain_ray.pipelines.run_folder import RunFolder, read_metrics
from safechain_ray.report.html.page import run_page
from safechain_ray.report.html.samples import WITH_TEXT, pack_samples
from safechain_ray.storage import Folder, redact, write_uri

REPORT = "report.html"


def write_report(folder: Folder, target: str | None = None, with_text: int = WITH_TEXT) -> str:
    """Make the report of the finished run in `folder`, with the texts of at most `with_text` samples.

    `target` is the file's path or URI; else it is `report.html` in the run's folder. Gives where it was written,
    without secrets. Raises InputError where there is no run, or one that has not ended.
    """
    metrics = read_metrics(folder.uri)
    run = RunFolder(folder)
    record = run.read_run()
    if record is None:
        raise InputError(f"{folder} has no run.json beside its metrics.json: copy the whole folder of the run.")
    page = run_page(metrics, record, pack_samples(run, metrics, with_text), _read_analysis(folder)).encode()
    if target is not None:
        write_uri(target, page)
        return redact(target)
    folder.write_bytes(REPORT, page)
    return f"{folder}/{REPORT}"


def _read_analysis(folder: Folder) -> FineGrained | None:
    """The run's analysis, where one was made. Raises InputError for one that does not read."""
    if not folder.exists(ANALYSIS_FILE):
        return None
    try:
        return FineGrained.model_validate_json(folder.read_text(ANALYSIS_FILE))
    except ValueError as error:
        raise InputError(
            f"{folder}/{ANALYSIS_FILE} does not read as an analysis; `safechain-ray report RUN --fine-grained` makes "
            f"it anew. {error}"
        ) from error
