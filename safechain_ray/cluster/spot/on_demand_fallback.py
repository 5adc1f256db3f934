"""Takes a node on demand where the cloud has no spot node of its kind, which Ray's autoscaler does not do by itself.

Ray 2.60 prefers a node type by its `priority`, but turns to another only where a node that was granted does not come up
(`CloudResourceMonitor` hears of ALLOCATION_TIMEOUT alone). A launch that the cloud refuses, as it does when it has no
spot capacity, is tried again for ever with the same type. So the second choice is made here, in the launch itself.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

logger = logging.getLogger(__name__)

NodeConfig = Mapping[str, Any]


class CreatesNodes(Protocol):
    """What of Ray's NodeProvider is used here."""

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> Any: ...


class OnDemandFallback(ABC):
    """For a class that also inherits one of Ray's node providers, behind this one."""

    @staticmethod
    @abstractmethod
    def on_demand(node_config: NodeConfig) -> dict[str, Any]:
        """The same node on demand; equal to `node_config` where that is on demand already."""

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> Any:
        """Start `count` nodes. Raises what the cloud says where it has none on demand either."""
        parent: CreatesNodes = super()  # type: ignore[assignment]
        try:
            return parent.create_node(node_config, tags, count)
        except Exception as error:
            instead = self.on_demand(node_config)
            if instead == node_config:
                raise
            logger.warning("No spot node (%s): asking for %d on demand.", error, count)
            return parent.create_node(instead, tags, count)


class OneByOneOnDemandFallback(OnDemandFallback):
    """For a provider that starts several nodes at once, and where one is refused raises and leaves the others to come.

    All of them would be asked for again on demand, beside those.
    """

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        """Start `count` nodes one after the other, each on demand where there is no spot node for it.

        Where the cloud has none any more, those that came are given: Ray asks for the rest again ten minutes later.
        Raises what the cloud says where it has none at all.
        """
        nodes: dict[str, Any] = {}
        for missing in range(count, 0, -1):
            try:
                nodes |= super().create_node(node_config, tags, 1)
            except Exception as error:
                if not nodes:
                    raise
                logger.warning("No node any more (%s): %d of %d are missing.", error, missing, count)
                break
        return nodes
