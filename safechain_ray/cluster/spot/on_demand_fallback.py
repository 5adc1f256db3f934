"""On-demand fallback: starts an on-demand node where the cloud has no spot node of its type.

Ray's autoscaler does not do so. Ray 2.60 prefers a node type by its `priority`, but falls back to another type only
where a granted node does not come up (`CloudResourceMonitor` receives ALLOCATION_TIMEOUT alone). A launch that the
cloud refuses for lack of spot capacity is retried forever with the same type. So the fallback is in the launch itself.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

logger = logging.getLogger(__name__)

NodeConfig = Mapping[str, Any]

TYPE_TAG = "ray-user-node-type"
"""Ray's tag of a node with the name of its type in the cluster config."""


class CreatesNodes(Protocol):
    """The method of Ray's NodeProvider that is used here."""

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> Any: ...


class OnDemandFallback(ABC):
    """Mixin before one of Ray's node providers in the bases of a class."""

    @staticmethod
    @abstractmethod
    def on_demand(node_config: NodeConfig) -> dict[str, Any]:
        """The config of the same node on demand; equal to `node_config` for an on-demand node."""

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> Any:
        """Start `count` nodes. Raises the cloud's error where no on-demand node starts either."""
        parent: CreatesNodes = super()  # type: ignore[assignment]
        try:
            return parent.create_node(node_config, tags, count)
        except Exception as error:
            fallback = self.on_demand(node_config)
            if fallback == node_config:
                raise
            logger.warning(
                "No spot node of type %s started (%s). Starting %d on-demand nodes instead, which cost more.",
                tags.get(TYPE_TAG, "unknown"),
                error,
                count,
            )
            return parent.create_node(fallback, tags, count)


class OneByOneOnDemandFallback(OnDemandFallback):
    """Mixin for a provider that starts several nodes at once, and raises for one of them while the others start.

    With `OnDemandFallback` all nodes would be requested again on demand, in addition to the nodes that started.
    """

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        """Start `count` nodes one after the other, each on demand where no spot node is available.

        Where the cloud has fewer nodes, the started ones are returned: Ray requests the rest ten minutes later. Raises
        the cloud's error where no node starts.
        """
        nodes: dict[str, Any] = {}
        for missing in range(count, 0, -1):
            try:
                nodes |= super().create_node(node_config, tags, 1)
            except Exception as error:
                if not nodes:
                    raise
                logger.warning(
                    "No further node of type %s started (%s). %d of %d nodes are missing: the autoscaler requests them "
                    "again in about ten minutes.",
                    tags.get(TYPE_TAG, "unknown"),
                    error,
                    missing,
                    count,
                )
                break
        return nodes
