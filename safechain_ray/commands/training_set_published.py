"""What others are told of how a training set was made: all that its rows come from, and not where the work was done."""

from typing import Any

OF_THE_PLACE = ("output", "run", "resources", "push_to_hub")
"""Keys of the config that change no row: folders, the cluster and its size."""

ENDPOINT = "base_url"
"""of a model or a judge behind an API, which may be a server of one's own. Which model answered there is told."""


def published_config(config: dict[str, Any]) -> dict[str, Any]:
    """A build's config without the keys that say where."""
    kept: dict[str, Any] = _without_endpoints({key: each for key, each in config.items() if key not in OF_THE_PLACE})
    return kept


def published_record(record: dict[str, Any]) -> dict[str, Any]:
    """The content of dataset.json without the keys that say where."""
    kept: dict[str, Any] = _without_endpoints(record | {"config": published_config(record["config"])})
    return kept


def _without_endpoints(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_endpoints(each) for key, each in tree.items() if key != ENDPOINT}
    if isinstance(tree, list):
        return [_without_endpoints(each) for each in tree]
    return tree
