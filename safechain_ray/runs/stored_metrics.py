"""The metrics of a finished run: its metrics.json, recomputed if an earlier version pooled all prompts in it."""

from safechain_ray import catalog
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.folder import RunFolder, read_metrics
from safechain_ray.runs.run_manifest import Outline, measure
from safechain_ray.storage import open_folder

POOLED = (
    "These figures are of an earlier version and pool harmful and benign prompts. The samples that are needed to "
    "separate them are not in this folder."
)


def metrics_of(uri: str) -> RunMetrics:
    """The metrics of the run in the folder `uri`.

    Figures of an earlier version are recomputed from the run's samples. Without the samples the stored figures are
    returned unchanged, with POOLED as a caveat if a data set may have benign prompts. Nothing is written.

    Raises:
        InputError: no metrics.json in the folder, or one that does not parse.
    """
    stored = read_metrics(uri)
    if stored.harmful_apart:
        return stored
    run = RunFolder(open_folder(uri))
    content = run.read_run()
    if content is not None:
        anew = measure(run, Outline.of(content))
        if _rows(anew) >= _rows(stored):
            return anew
    if all(_is_harmful(setting.dataset) for setting in stored.settings):
        return stored
    return stored.model_copy(update={"caveats": (*stored.caveats, POOLED)})


def _rows(metrics: RunMetrics) -> int:
    return sum(setting.rows for setting in metrics.settings)


def _is_harmful(dataset: str) -> bool:
    """Whether the catalog says that every prompt of the data set is harmful."""
    entry = catalog.datasets().get(dataset)
    return entry is not None and entry.benign_categories == ()
