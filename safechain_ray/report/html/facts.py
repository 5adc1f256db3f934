"""The facts of a run on its page: model, data, judges, tokens, cost, attempts, versions, config."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from safechain_ray.report.html.elements import Markup, element, join
from safechain_ray.runs.run_file import ModelIdentity, RunFile, StoredAttempt

COLUMNS = ("Attempt", "Started", "Ended", "Minutes", "Status", "Rows found", "Hardware", "Pools")


def run_facts(run: RunFile) -> Markup:
    """The facts of a run. Its run.json has no secrets: they are redacted before it is written."""
    attempts = run.attempts
    return join(
        element("dl", [_fact(name, value) for name, value in _facts(run).items() if value]),
        _attempts(attempts) if attempts else None,
        _versions(attempts[-1].versions) if attempts else None,
        _details("Config", json.dumps(run.config, indent=2)),
        _details("Identity: what changes the results", json.dumps(run.identity.tree, indent=2)),
    )


def _facts(run: RunFile) -> dict[str, str]:
    datasets = (
        f"{name}: {dataset.prompts:,} prompts from {dataset.source or 'an unknown source'}"
        for name, dataset in run.datasets.items()
    )
    tokens = (f"{count:,} {part}" for part, count in run.tokens.items())
    revision = f", revision {run.git_revision}" if run.git_revision else ""
    return {
        "Model": "" if run.identity.model is None else _model(run.identity.model),
        "Data": "; ".join(datasets),
        "Judges": "; ".join(_judges(run)),
        "Samples": "" if run.rows is None else f"{run.rows:,}",
        "Tokens": ", ".join(tokens),
        "Cost": "" if run.cost_dollars is None else f"${run.cost_dollars:,.2f} paid to providers",
        "Finished": _time(run.finished) or "not yet",
        "Made by": f"safechain_ray {run.safechain_ray}{revision}",
    }


def _model(model: ModelIdentity) -> str:
    """Name, origin and dtype. The origin is the source of the weights, or the model of an API and its address."""
    origin = model.source or " at ".join(filter(None, (model.api_model, model.base_url)))
    revision = f" at {model.revision[:12]}" if model.revision else ""
    return " ".join(filter(None, (model.name, f"({origin}{revision})", model.dtype)))


def _judges(run: RunFile) -> Iterator[str]:
    for judge in run.identity.judges or ():
        yield f"{judge.name} ({judge.kind or 'unknown'})"
    for vote in run.identity.votes:
        yield f"{vote.name} ({vote.rule} of {', '.join(vote.judges)})"
    for name, added in run.added.items():
        yield f"{name} (added later, {', '.join(added.parts)})"


def _fact(name: str, value: str) -> Markup:
    return element("div", element("dt", name), element("dd", value))


def _attempts(attempts: Sequence[StoredAttempt]) -> Markup:
    head = element("tr", [element("th", name, scope="col") for name in COLUMNS])
    rows = [
        element("tr", element("th", number, scope="row"), [element("td", cell) for cell in _cells(attempt)])
        for number, attempt in enumerate(attempts, 1)
    ]
    table = element("table", element("caption", "Attempts"), element("thead", head), element("tbody", rows))
    return element("div", table, class_="table small", tabindex=0, role="region", aria_label="Attempts")


def _cells(attempt: StoredAttempt) -> Iterator[str | list[Markup]]:
    yield _time(attempt.started)
    yield _time(attempt.ended)
    yield f"{(attempt.ended - attempt.started).total_seconds() / 60:.1f}" if attempt.ended else ""
    yield f"{attempt.command}: {attempt.status}" if attempt.command else attempt.status
    yield f"{attempt.rows_found:,}"
    yield [
        element("div", f"{node.node}: {node.cpus:g} logical CPUs, {node.gpus:g} GPUs, {node.memory_gigabytes:g} GB")
        for node in attempt.hardware
    ]
    yield [
        element("div", f"{pool}: {', '.join(f'{count:,} {_counter(name)}' for name, count in counts.items())}")
        for pool, counts in attempt.pools.items()
    ]


def _counter(name: str) -> str:
    """The counter of a worker in words."""
    return {"rows_in": "rows received", "rows_out": "rows completed"}.get(name, name.replace("_", " "))


def _versions(versions: Mapping[str, str]) -> Markup:
    found = [element("div", element("dt", name), element("dd", version)) for name, version in versions.items()]
    return join(element("h3", "Versions of the latest attempt"), element("dl", found, class_="versions"))


def _details(title: str, text: str) -> Markup:
    return element("details", element("summary", title), element("pre", text, tabindex=0))


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
