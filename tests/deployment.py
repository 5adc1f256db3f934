"""The project's files for clusters, as the tests read them, and what Ray's autoscaler would start from nothing."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

ROOT = Path(__file__).parents[1]
LAUNCHER_FILES = ("cluster.yaml", "deploy/gcp.yaml")
KUBERAY = ROOT / "deploy" / "kuberay"


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def launched(config: dict[str, Any], *demands: dict[str, float], unavailable: tuple[str, ...] = ()) -> Counter[str]:
    """The node types, workers only, that the autoscaler starts for `demands`; `unavailable` ones failed just now."""
    without_key = {**config, "auth": {}}
    scheduler, read = ResourceDemandScheduler(event_logger=None), AutoscalingConfig(without_key, skip_content_hash=True)
    requests = ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(demand) for demand in demands])
    reply = scheduler.schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=read.get_node_type_configs(),
            max_num_nodes=read.get_max_num_nodes(),
            resource_requests=requests,
            recoverable_resource_availabilities=dict.fromkeys(unavailable, 0.0),
        )
    )
    assert not reply.infeasible_resource_requests
    wanted = {launch.instance_type: launch.count for launch in reply.to_launch}
    return Counter({name: count for name, count in wanted.items() if name != read.get_head_node_type()})
