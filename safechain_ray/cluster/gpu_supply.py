"""GPU supply for the planner: the number of GPUs on a node and in all, and their memory."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

MANY_GPUS = 64
"""The assumed number of GPUs in all, where the capacity of an autoscaler is unknown."""

GIGABYTES_OF_TYPES: Mapping[str, float] = {
    "T4": 16,
    "V100": 16,
    "A10G": 24,
    "L4": 24,
    "A100": 40,
    "A100-40G": 40,
    "A100-80G": 80,
    "L40S": 48,
    "H100": 80,
    "H20": 96,
    "RTX-PRO-6000": 96,
    "H200": 141,
    "B200": 180,
}
"""GB of memory by Ray's accelerator type (ray.util.accelerators, 2.60), from NVIDIA's data sheets.

Used for nodes of an autoscaler and for nodes that do not answer. Where a type has two sizes, this is the smaller one.
"""


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that an engine may use: how many on the largest node and in all, and the memory of the smallest one.

    Memory is in GB (1e9 bytes). `by_node` has the number of GPUs and the memory of each, for nodes that differ. Where
    `are_known` is False, an autoscaler may add nodes with any number of GPUs.
    """

    gigabytes: float
    a_node: int = 8
    in_all: int = MANY_GPUS
    by_node: tuple[tuple[int, float], ...] = ()
    are_known: bool = True

    @property
    def across_nodes(self) -> int:
        """GPUs of a tensor-parallel group in a replica that spans nodes. Ray fills nodes, and no group may span two."""
        return math.gcd(*(count for count, _ in self.by_node)) or self.a_node

    def memory_for(self, gpus: int) -> float:
        """Memory of the smallest GPU among nodes with at least `gpus` GPUs, as Ray may use any of these nodes."""
        return min((memory for count, memory in self.by_node if count >= gpus), default=self.gigabytes)

    def __str__(self) -> str:
        return f"GPUs of {self.gigabytes:.3g} GB"
