"""The Grafana dashboard: every query names series and labels that the code exports, and every series is drawn."""

import json
import re
from pathlib import Path
from typing import Any

from safechain_ray.cluster.metrics_exporter import SERIES

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "safechain.json").read_text(encoding="utf-8"))
QUERIES: list[str] = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
VARIABLES: list[str] = [each["query"]["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
EXPORTED = {each.exported: {"run", "model", *each.labels} for each in SERIES}


def names(query: str) -> set[str]:
    return set(re.findall(r"\bray_\w+", query))


def test_every_query_names_series_that_the_code_exports():
    assert QUERIES
    for query in (*QUERIES, *VARIABLES):
        assert names(query)
        assert names(query) <= EXPORTED.keys()


def test_every_series_that_the_code_exports_is_drawn():
    assert {name for query in QUERIES for name in names(query)} == EXPORTED.keys()


def test_the_documentation_names_every_series_and_no_other():
    text = (ROOT / "docs" / "status.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\bray_safechain_\w+", text)) == EXPORTED.keys()


def test_queries_choose_and_group_by_labels_that_their_series_have():
    for query in QUERIES:
        labels = set.intersection(*(EXPORTED[name] for name in names(query)))
        grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")}
        chosen = {label for choice in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)=~?", choice)}
        assert grouped | chosen <= labels, query


def test_legends_name_labels_by_which_their_query_groups():
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            grouped = set(re.findall(r"\bby \(([^)]*)\)", target["expr"])[0].replace(" ", "").split(","))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped


def test_panels_neither_overlap_nor_share_an_id_and_take_the_data_source_that_is_chosen():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(at["x"] + at["w"] for at in places) <= 24
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}
