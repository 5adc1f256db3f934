"""Joining a cluster: an address where nobody listens is one sentence, soon. What a local Ray has."""

import socket
import time

import pytest
from ray._private.accelerators import get_accelerator_manager_for_resource

from safechain_ray.cluster import session
from safechain_ray.cluster.session import check_reachable
from safechain_ray.engines.gpus import read_gpus
from safechain_ray.errors import SafechainError
from tests.pretended_nvml import GIB, PretendedGpu, PretendedNvml


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "localhost:{port}", "ray://127.0.0.1:{port}", "[::1]:{port}"])
def test_an_address_where_nobody_listens_is_refused_with_the_fix(address: str, free_port: int):
    named = address.format(port=free_port)
    began = time.monotonic()
    with pytest.raises(SafechainError) as refusal:
        check_reachable(named, patience=1.0)
    assert time.monotonic() - began < 15
    assert f"No Ray cluster answers at {named}: Connection refused" in str(refusal.value)
    assert "Fix: start the cluster, correct --ray-address or RAY_ADDRESS" in str(refusal.value)


def test_an_unknown_host_is_refused_at_once():
    with pytest.raises(SafechainError, match=r"No Ray cluster answers at no-such-host\.invalid:6379: the host name"):
        check_reachable("no-such-host.invalid:6379", patience=60.0)


def test_an_address_that_listens_passes():
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_reachable(f"127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("address", ["auto", "local", "nonsense"])
def test_what_names_no_port_is_left_to_ray(address: str):
    check_reachable(address)


@pytest.mark.parametrize(("visible", "seen"), [(None, 4), ("0,2", 2), ("", 0), ("0,1,2,3,4", 4)])
def test_a_local_ray_has_the_gpus_that_cuda_shows(monkeypatch: pytest.MonkeyPatch, visible: str | None, seen: int):
    manager = get_accelerator_manager_for_resource("GPU")
    monkeypatch.setattr(manager, "get_current_node_num_accelerators", staticmethod(lambda: 4))
    nvml = PretendedNvml([PretendedGpu(memory=24 * GIB), PretendedGpu(memory=48 * GIB, uuid="GPU-2")])
    monkeypatch.setattr(session, "read_gpus", lambda: read_gpus(nvml))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    (node,) = session.view_local().nodes
    assert node.gpus == seen
    assert node.gpu_memory == (24 * GIB / 1e9 if seen else None)
