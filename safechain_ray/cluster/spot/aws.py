"""Node provider of cluster.yaml: Ray's provider for AWS, with on-demand fallback for spot nodes. Needs boto3."""

from typing import Any

from safechain_ray.cluster.ray_internals.node_providers import node_provider
from safechain_ray.cluster.spot.on_demand_fallback import NodeConfig, OnDemandFallback


class AwsOnDemandFallback(OnDemandFallback, node_provider("aws")):  # type: ignore[misc]
    """`InstanceMarketOptions` requests a spot node. Without this key EC2 starts an on-demand node."""

    @staticmethod
    def on_demand(node_config: NodeConfig) -> dict[str, Any]:
        return {key: value for key, value in node_config.items() if key != "InstanceMarketOptions"}
