"""deploy/kuberay/: what KubeRay and Ray's autoscaler read in it. Field names are those of KubeRay 1.7's RayJob CRD."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config

from safechain_ray.cluster.nodes import read_autoscaler_capacity
from safechain_ray.cluster.planner import ClusterView, Node, PoolNeeds
from safechain_ray.cluster.ray_internals.hooks import TESTED_RAY
from safechain_ray.cluster.scheduler_policy import WaitingRun, schedule_runs
from tests.deployment import KUBERAY, ROOT, launched, read_yaml

JOB_FIELDS = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
CLUSTER_FIELDS = {
    "rayVersion",
    "authOptions",
    "enableInTreeAutoscaling",
    "autoscalerOptions",
    "headGroupSpec",
    "workerGroupSpecs",
}
GROUP_REQUIRED = {"groupName", "minReplicas", "maxReplicas", "template"}
GROUP_FIELDS = GROUP_REQUIRED | {"replicas", "priority", "labels", "resources", "rayStartParams"}


@pytest.fixture(scope="module")
def job() -> Any:
    return yaml.safe_load((KUBERAY / "rayjob.yaml").read_text())


@pytest.fixture(scope="module")
def cluster(job: Any) -> Any:
    return job["spec"]["rayClusterSpec"]


@pytest.fixture(scope="module")
def groups(cluster: Any) -> Any:
    return cluster["workerGroupSpecs"]


def autoscaling(cluster: Any) -> dict[str, Any]:
    """What Ray's autoscaler makes of the cluster; it checks that by its own schema."""
    resource = {"metadata": {"name": "any", "namespace": "any"}, "spec": cluster}
    config: dict[str, Any] = prepare_config(_derive_autoscaling_config_from_ray_cr(resource))
    return config


def containers(cluster: Any) -> list[Any]:
    templates = [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]
    return [container for template in templates for container in template["spec"]["containers"]]


def test_the_job_has_the_fields_of_the_crd_and_no_others(job: Any, cluster: Any, groups: Any) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) <= JOB_FIELDS
    assert set(cluster) <= CLUSTER_FIELDS
    assert all(set(group) <= GROUP_FIELDS and set(group) >= GROUP_REQUIRED for group in groups)
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["rayVersion"] == TESTED_RAY


def test_the_cluster_goes_when_its_job_is_done_and_comes_again_when_it_failed(job: Any) -> None:
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert job["spec"]["backoffLimit"] > 0


def test_every_gpu_group_starts_from_zero(cluster: Any, groups: Any) -> None:
    assert all(group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"] for group in groups)
    assert launched(autoscaling(cluster)) == {}


def test_what_a_group_says_to_ray_is_what_its_pods_ask_of_kubernetes(groups: Any) -> None:
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        asked = container["resources"]["limits"]
        assert container["resources"]["requests"] == asked
        assert (group["resources"]["CPU"], group["resources"]["GPU"]) == (asked["cpu"], asked["nvidia.com/gpu"])
        size, market = group["groupName"].removeprefix("gpu-").split("-", maxsplit=1)
        assert size.startswith(f"{asked['nvidia.com/gpu']}x")
        assert group["template"]["spec"]["nodeSelector"] == {
            "safechain-ray/gpus": size,
            "safechain-ray/market": market,
        }
        assert group["labels"]["ray.io/market-type"] == market
        assert f"accelerator_type:{group['labels']['ray.io/accelerator-type']}" in group["resources"]


@pytest.mark.parametrize(
    ("kind", "count", "size"), [("L4", 1, "1x24"), ("L40S", 1, "1x48"), ("H100", 1, "8x80"), ("H100", 8, "8x80")]
)
def test_an_engine_gets_a_spot_pod_and_one_on_demand_where_spot_pods_did_not_come(
    cluster: Any, kind: str, count: int, size: str
) -> None:
    config = autoscaling(cluster)
    demand = {"CPU": 2.0, "GPU": float(count), f"accelerator_type:{kind}": 0.001}
    assert launched(config, demand) == {f"gpu-{size}-spot": 1}
    assert launched(config, demand, unavailable=(f"gpu-{size}-spot",)) == {f"gpu-{size}-on-demand": 1}


def test_what_the_sweep_is_told_of_pods_to_come_is_what_rayjob_yaml_may_bring_each_kind_once(cluster: Any) -> None:
    told = read_yaml("deploy/kuberay/groups.yaml")
    kinds = {name: kind for name, kind in told["available_node_types"].items() if name != told["head_node_type"]}
    groups = {name: group for name, group in autoscaling(cluster)["available_node_types"].items() if "gpu" in name}
    assert set(groups) == {f"{kind}-{market}" for kind in kinds for market in ("spot", "on-demand")}
    for name, group in groups.items():
        kind = kinds[name.removesuffix("-spot").removesuffix("-on-demand")]
        assert kind == {"max_workers": group["max_workers"], "resources": group["resources"]}, name
    assert told["max_workers"] == sum(kind["max_workers"] for kind in kinds.values())


def test_the_job_names_that_file_where_the_image_has_it(job: Any) -> None:
    (path,) = re.findall(r"--set resources\.autoscaler_config=(\S+)", job["spec"]["entrypoint"])
    assert "COPY --chown=ray . /opt/safechain_ray\n" in (KUBERAY / "Dockerfile").read_text()
    assert (ROOT / Path(path).relative_to("/opt/safechain_ray")).samefile(KUBERAY / "groups.yaml")
    assert "deploy" not in (KUBERAY / "Dockerfile.dockerignore").read_text()


def test_a_sweep_that_begins_on_a_head_alone_starts_several_models_at_once() -> None:
    head = Node("head", cpus=8, gpus=0, memory=24)
    capacity = read_autoscaler_capacity(str(KUBERAY / "groups.yaml"), "H100", [head])
    assert [(node.gpus, node.cpus, node.memory) for node in capacity if node.gpus] == [(8, 96, 960)] * 2

    needs = PoolNeeds("model", "org/r1", "cuda", cpus=2, gpus=4, memory=40, wanted=None, useful=4)
    waiting = [WaitingRun(name, (needs,), work=1) for name in ("70B", "32B", "14B", "8B", "7B")]
    alone = ClusterView((head,), autoscales=True)
    assert len(schedule_runs(waiting, [], alone, at_once=16).starts) == 1
    assert len(schedule_runs(waiting, [], replace(alone, autoscaler_capacity=capacity), at_once=16).starts) == 4


def test_spot_pods_that_wait_are_given_up_within_the_stall_timeout_of_a_run(cluster: Any) -> None:
    environment = {one["name"]: one["value"] for one in cluster["autoscalerOptions"]["env"]}
    assert int(environment["RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"]) < 30 * 60


def test_spot_pods_tolerate_the_taints_of_spot_nodes(groups: Any) -> None:
    for group in groups:
        tolerated = {one["key"] for one in group["template"]["spec"]["tolerations"]}
        assert "nvidia.com/gpu" in tolerated
        assert ("cloud.google.com/gke-spot" in tolerated) is (group["labels"]["ray.io/market-type"] == "spot")


def test_pods_are_not_restarted_in_place_which_ray_would_take_for_the_same_node(cluster: Any, groups: Any) -> None:
    templates = [cluster["headGroupSpec"]["template"], *(group["template"] for group in groups)]
    assert {template["spec"]["restartPolicy"] for template in templates} == {"Never"}


def test_a_token_from_a_secret_is_asked_and_no_secret_stands_in_the_files(cluster: Any) -> None:
    assert cluster["authOptions"] == {"mode": "token", "secretName": "safechain-ray-token"}
    for container in containers(cluster):
        assert container["envFrom"] == [{"secretRef": {"name": "safechain-ray-keys", "optional": True}}]
        plain = {one["name"] for one in container["env"]}
        assert not any(word in name for name in plain for word in ("KEY", "TOKEN", "SECRET"))


def test_the_dashboard_is_reached_from_inside_alone(cluster: Any) -> None:
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    policy = yaml.safe_load((KUBERAY / "network.yaml").read_text())
    assert policy["spec"]["podSelector"]["matchLabels"] == {"ray.io/is-ray-node": "yes"}
    assert not any("ipBlock" in peer for rule in policy["spec"]["ingress"] for peer in rule["from"])


def test_no_container_runs_as_root(cluster: Any, groups: Any) -> None:
    for container in containers(cluster):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    for group in groups:
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_neither_the_head_nor_the_job_of_the_weights_runs_as_root(cluster: Any) -> None:
    _, filling = yaml.safe_load_all((KUBERAY / "weights.yaml").read_text())
    for pod in (cluster["headGroupSpec"]["template"]["spec"], filling["spec"]["template"]["spec"]):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert {one["securityContext"]["allowPrivilegeEscalation"] for one in pod["containers"]} == {False}


def test_every_pod_has_an_account_that_may_use_the_bucket(cluster: Any) -> None:
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    assert {pod["serviceAccountName"] for pod in pods} == {"safechain-ray"}


def profiles(rayjob: str) -> list[Any]:
    """What the pods of the file say of seccomp and AppArmor, each thing once."""
    cluster = yaml.safe_load(rayjob)["spec"]["rayClusterSpec"]
    templates = [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    contexts = (template["spec"]["securityContext"] for template in templates)
    said = [(context.get("seccompProfile"), context.get("appArmorProfile")) for context in contexts]
    return [each for place, each in enumerate(said) if each not in said[:place]]


def test_every_pod_may_make_the_sandbox_that_benchmarks_need_once_two_lines_are_no_comment_any_more(
    cluster: Any,
) -> None:
    shipped = (KUBERAY / "rayjob.yaml").read_text()
    assert profiles(shipped) == [(None, None)]
    edited = re.sub(r"# (seccompProfile|appArmorProfile):", r"\1:", shipped)
    assert profiles(edited) == [({"type": "Unconfined"}, {"type": "Unconfined"})]
    assert all(one["securityContext"]["capabilities"] == {"drop": ["ALL"]} for one in containers(cluster))
    assert "apt-get install -y --no-install-recommends bubblewrap" in (KUBERAY / "Dockerfile").read_text()


def test_workers_read_the_volume_that_the_weights_job_fills(groups: Any) -> None:
    volume, filling = yaml.safe_load_all((KUBERAY / "weights.yaml").read_text())
    claim = volume["metadata"]["name"]
    (filler,) = filling["spec"]["template"]["spec"]["containers"]
    assert filler["command"][-2:] == ["--to", "/weights"]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "HF_HOME", "value": "/weights"} in container["env"]
        assert {"name": "HF_HUB_OFFLINE", "value": "1"} in container["env"]
        claims = [v["persistentVolumeClaim"] for v in group["template"]["spec"]["volumes"] if v["name"] == "weights"]
        assert claims == [{"claimName": claim, "readOnly": True}]


def test_copies_of_models_go_to_a_volume_that_the_pod_may_write(groups: Any) -> None:
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        (copies,) = [one["value"] for one in container["env"] if one["name"] == "SAFECHAIN_WEIGHTS"]
        (mount,) = [one for one in container["volumeMounts"] if one["mountPath"] == copies]
        assert "readOnly" not in mount
        assert {"name": mount["name"], "emptyDir": {}} in group["template"]["spec"]["volumes"]


def test_the_image_is_built_on_the_newest_tested_ray_with_cuda_13_and_brings_its_kernels() -> None:
    """Ray's tag `-gpu` is CUDA 12.1 (ray-images.json of the ray repository); vLLM's wheels link CUDA 13."""
    dockerfile = (KUBERAY / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{TESTED_RAY}-py312-cu130" in dockerfile
    assert "python -m flashinfer download-kernels" in dockerfile
