"""Replicas larger than a node: each stands on a placement group of its own, which is given back when it is gone.

Ray itself keeps what a driver's placement groups hold until the driver ends: the judges of a later stage, or the next
model of a sweep, would wait for it for ever.
"""

import threading
from collections.abc import Mapping

import ray
from ray.core.generated.gcs_pb2 import ActorTableData
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

_groups: dict[bytes, PlacementGroup] = {}
_lock = threading.Lock()


def new_group(bundle: Mapping[str, float], bundles: int) -> PlacementGroup:
    """A group for one actor and the actors that it starts, on as few nodes as can be."""
    group = placement_group([dict(bundle)] * bundles, strategy="PACK")
    with _lock:
        _groups[group.id.binary()] = group
    return group


def give_back_groups() -> None:
    """Remove the groups whose actors have all ended. One whose actor is started anew, or still to come, stays."""
    with _lock:
        if not _groups:
            return
        ended = [group for group, lives in _lives_by_group().items() if not lives]
        for group in _groups.keys() & ended:
            remove_placement_group(_groups.pop(group))


def _lives_by_group() -> Mapping[bytes, bool]:
    """Whether any actor lives, for every placement group of this driver on which one stood."""
    here = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    lives: dict[bytes, bool] = {}
    for row in ray._private.state.state._connect_and_get_accessor().get_actor_table(here, None):
        actor = ActorTableData.FromString(row)
        if group := actor.placement_group_id:
            lives[group] = lives.get(group, False) or actor.state != ActorTableData.DEAD
    return lives
