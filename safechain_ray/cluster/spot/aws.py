"""The node provider of cluster.yaml: Ray's for AWS, with nodes on demand behind spot nodes. Needs boto3."""

from typing import Any

from safechain_ray.cluster.ray_internals.node_providers import node_provider
from safechain_ray.cluster.spot.on_demand_fallback import NodeConfig, OnDemandFallback


class AwsOnDemandFallback(OnDemandFallback, node_provider("aws")):  # type: ignore[misc]
    """`InstanceMarketOptions` says that a node is spot; EC2 gives it on demand without."""

    @staticmethod
    def on_demand(node_config: NodeConfig) -> dict[str, Any]:
        return {key: value for key, value in node_config.items() if key != "InstanceMarketOptions"}
