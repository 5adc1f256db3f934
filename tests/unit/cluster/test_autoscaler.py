"""What the resources of a node say of its GPUs."""

import pytest
from ray.util.accelerators import accelerators

from safechain_ray.cluster.gpu_fit import GIGABYTES_OF_TYPES
from safechain_ray.cluster.nodes import gpus_of_kind, memory_of_type


@pytest.mark.parametrize(
    ("resources", "gigabytes"),
    [
        ({"GPU": 8, "accelerator_type:H100": 1}, 80),
        ({"GPU": 1, "CPU": 4, "accelerator_type:L4": 1}, 24),
        ({"GPU": 1, "accelerator_type:my-own": 1}, None),
        ({"GPU": 1}, None),
    ],
)
def test_memory_follows_from_the_accelerator_type(resources: dict[str, float], gigabytes: float | None):
    assert memory_of_type(resources) == gigabytes


def test_every_type_is_one_that_ray_knows():
    known = {value for name, value in vars(accelerators).items() if name.isupper()}
    assert GIGABYTES_OF_TYPES.keys() - {"A100-40G", "A100-80G"} <= known


def test_gpus_of_another_kind_do_not_count():
    assert gpus_of_kind({"GPU": 8, "accelerator_type:H100": 1}, "L4") == 0
    assert gpus_of_kind({"GPU": 8, "accelerator_type:H100": 1}, None) == 8
