"""Node provider of deploy/gcp.yaml: Ray's provider for Google Cloud, with on-demand fallback for spot nodes.

Needs google-api-python-client.
"""

from typing import Any

from safechain_ray.cluster.ray_internals.node_providers import node_provider
from safechain_ray.cluster.spot.on_demand_fallback import NodeConfig, OneByOneOnDemandFallback

SPOT_KEYS = ("provisioningModel", "instanceTerminationAction")


class GcpOnDemandFallback(OneByOneOnDemandFallback, node_provider("gcp")):  # type: ignore[misc]
    """Two keys of `scheduling` request a spot node; its other keys apply to on-demand nodes too.

    One node at a time: Ray sends the inserts of all nodes before it receives the first refusal.
    """

    @staticmethod
    def on_demand(node_config: NodeConfig) -> dict[str, Any]:
        scheduling = {key: value for key, value in node_config.get("scheduling", {}).items() if key not in SPOT_KEYS}
        return {**node_config, "scheduling": scheduling} if "scheduling" in node_config else dict(node_config)
