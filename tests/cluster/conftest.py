"""A real Ray cluster of two nodes for the tests of this folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from safechain_ray.cluster.session import ray_session
from tests.cluster.scripted_runs import API_KEY, API_KEY_ENV, Runner
from tests.lean_ray import LEAN
from tests.s3_server import CREDENTIALS, Store, s3_store


@pytest.fixture(scope="session")
def cluster_address() -> Iterator[str]:
    """Two nodes; engines and tasks land on both."""
    os.environ.update(CREDENTIALS | {API_KEY_ENV: API_KEY})  # workers inherit what the nodes start with
    cluster = Cluster(initialize_head=True, head_node_args={**LEAN, "num_cpus": 8})
    cluster.add_node(num_cpus=8)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def one_driver(cluster_address: str) -> Iterator[None]:
    """One driver for all runs of a module, as for those of a sweep: Ray starts its workers once for all of them."""
    with ray_session(cluster_address):
        yield


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    os.environ.update(CREDENTIALS)
    with s3_store() as running:
        yield running


@pytest.fixture
def run(cluster_address: str, tmp_path: Path) -> Runner:
    # Outside ASCII, as folders of users are: Ray takes labels of metrics in ASCII only.
    return Runner(cluster_address, tmp_path / "läufe" / "run")
