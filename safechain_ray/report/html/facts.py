"""The facts of a run, from its run.json: config, versions, hardware, times, tokens, cost, tries."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from safechain_ray.report.html.markup import Markup, element, join


def run_facts(run: Mapping[str, Any]) -> Markup:
    """`run` is the content of run.json, whose secrets were blotted out when it was written."""
    tries = run.get("tries", [])
    return join(
        element("dl", [_fact(name, value) for name, value in _facts(run).items() if value]),
        _tries(tries) if tries else None,
        _versions(tries[-1].get("versions", {})) if tries else None,
        _details("Config", json.dumps(run.get("config", {}), indent=2)),
        _details("Identity: what changes the results", json.dumps(run["identity"], indent=2)),
    )


def _facts(run: Mapping[str, Any]) -> dict[str, str]:
    model = run["identity"]["model"]
    datasets = (
        f"{name}: {found['prompts']:,} prompts from {found.get('source', 'an unknown place')}"
        for name, found in run.get("datasets", {}).items()
    )
    judges = (f"{judge['name']} ({judge.get('kind', 'unknown')})" for judge in run["identity"].get("judges", ()))
    added = (f"{name} (added later, {', '.join(judge['parts'])})" for name, judge in run.get("added", {}).items())
    votes = (
        f"{vote['name']} ({vote['rule']} of {', '.join(vote['judges'])})" for vote in run["identity"].get("votes", ())
    )
    tokens = run.get("tokens", {})
    return {
        "Model": " ".join(filter(None, (model["name"], _source(model), model.get("dtype")))),
        "Data": "; ".join(datasets),
        "Judges": "; ".join([*judges, *votes, *added]),
        "Samples": f"{run['rows']:,}" if run.get("rows") is not None else "",
        "Tokens": ", ".join(f"{count:,} {part}" for part, count in tokens.items()),
        "Cost": f"${run['cost_dollars']:,.2f} paid to providers" if run.get("cost_dollars") is not None else "",
        "Finished": _time(run["finished"]) if run.get("finished") else "not yet",
        "Made by": f"safechain_ray {run.get('safechain_ray', '')}" + _revision(run.get("git_revision")),
    }


def _source(model: Mapping[str, Any]) -> str:
    """Where its weights come from, or which model of which API it is."""
    source = model.get("source") or " at ".join(filter(None, (model.get("api_model"), model.get("base_url"))))
    revision = model.get("revision")
    return f"({source}{f' at {revision[:12]}' if revision else ''})"


def _revision(revision: str | None) -> str:
    return f", revision {revision}" if revision else ""


def _fact(name: str, value: str) -> Markup:
    return element("div", element("dt", name), element("dd", value))


def _tries(tries: list[Mapping[str, Any]]) -> Markup:
    names = ("Try", "Started", "Ended", "Minutes", "Status", "Rows found", "Hardware", "Pools")
    head = element("tr", [element("th", name, scope="col") for name in names])
    rows = [
        element("tr", element("th", number, scope="row"), [element("td", cell) for cell in _try(each)])
        for number, each in enumerate(tries, 1)
    ]
    table = element("table", element("caption", "Tries"), element("thead", head), element("tbody", rows))
    return element("div", table, class_="table small", tabindex=0, role="region", aria_label="Tries")


def _try(each: Mapping[str, Any]) -> tuple[Any, ...]:
    ended = each.get("ended")
    pools = [
        element("div", f"{pool}: {', '.join(f'{count:,} {key}' for key, count in counts.items())}")
        for pool, counts in each.get("pools", {}).items()
    ]
    hardware = [
        element(
            "div",
            f"{node['node']}: {node['cpus']:g} logical CPUs, {node['gpus']:g} GPUs, {node['memory_gigabytes']:g} GB",
        )
        for node in each.get("hardware", [])
    ]
    return (
        _time(each["started"]),
        _time(ended) if ended else "",
        _minutes(each["started"], ended) if ended else "",
        f"{each['command']}: {each['status']}" if each.get("command") else each["status"],
        f"{each.get('rows_found', 0):,}",
        hardware,
        pools,
    )


def _versions(versions: Mapping[str, str]) -> Markup:
    found = [element("div", element("dt", name), element("dd", version)) for name, version in versions.items()]
    return join(element("h3", "Versions of the last try"), element("dl", found, class_="versions"))


def _details(title: str, words: str) -> Markup:
    return element("details", element("summary", title), element("pre", words, tabindex=0))


def _time(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M} UTC"


def _minutes(started: str, ended: str) -> str:
    return f"{(datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds() / 60:.1f}"
