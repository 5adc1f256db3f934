"""cluster.yaml and deploy/gcp.yaml: valid by Ray's own schema, from zero, closed to the world; no cloud is asked."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.util.accelerators import accelerators

from safechain_ray.catalog import models
from safechain_ray.cluster.nodes import memory_of_type
from safechain_ray.cluster.spot.interruption_watcher import CLOUDS
from tests.deployment import LAUNCHER_FILES, ROOT, launched, read_yaml

ACCELERATORS = {value for name, value in vars(accelerators).items() if name.startswith("NVIDIA")}

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

both = pytest.mark.parametrize("file", LAUNCHER_FILES)


def workers(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: node for name, node in config["available_node_types"].items() if name != config["head_node_type"]}


def start_of(config: dict[str, Any], role: str) -> str:
    """The one command that starts Ray."""
    (start,) = (command for command in config[f"{role}_start_ray_commands"] if "ray start" in command)
    return start


@both
def test_the_file_is_valid_by_rays_own_schema(file: str) -> None:
    config = prepare_config(read_yaml(file))
    validate_config(config)


@both
def test_nothing_but_the_head_runs_until_a_run_asks_for_it(file: str) -> None:
    config = read_yaml(file)
    assert all(node["min_workers"] == 0 for node in config["available_node_types"].values())
    assert config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False
    assert launched(prepare_config(config)) == {}


@both
def test_every_gpu_group_says_its_gpus_and_their_kind_so_that_it_can_start_from_zero(file: str) -> None:
    for name, node in workers(read_yaml(file)).items():
        count, memory = re.fullmatch(r"gpu-(\d)x(\d+)", name).groups()  # type: ignore[union-attr]
        assert node["resources"]["GPU"] == int(count)
        kinds = [key.removeprefix("accelerator_type:") for key in node["resources"] if ":" in key]
        assert kinds[0] in ACCELERATORS
        assert memory_of_type(node["resources"]) == int(memory)


@pytest.mark.parametrize(
    ("file", "kind", "count", "group"),
    [
        ("cluster.yaml", "L4", 1, "gpu-1x24"),
        ("cluster.yaml", "L40S", 1, "gpu-1x48"),
        ("cluster.yaml", "H100", 1, "gpu-8x80"),
        ("cluster.yaml", "H100", 4, "gpu-8x80"),
        ("deploy/gcp.yaml", "L4", 1, "gpu-1x24"),
        ("deploy/gcp.yaml", "A100", 1, "gpu-1x80"),
        ("deploy/gcp.yaml", "H100", 8, "gpu-8x80"),
    ],
)
def test_an_engine_that_names_its_gpus_gets_a_node_that_has_them(file: str, kind: str, count: int, group: str) -> None:
    demand = {"CPU": 2.0, "GPU": float(count), f"accelerator_type:{kind}": 0.001}
    assert launched(prepare_config(read_yaml(file)), demand) == {group: 1}


@both
def test_the_largest_model_of_one_node_fits_the_largest_group(file: str) -> None:
    config = prepare_config(read_yaml(file))
    largest = max(model.gpus for model in models().values() if model.gpus <= 8)
    assert launched(config, {"CPU": 2.0, "GPU": float(largest)}) == {"gpu-8x80": 1}


@both
def test_replicas_that_find_no_room_on_one_node_get_several(file: str) -> None:
    demands = [{"CPU": 2.0, "GPU": 1.0, "accelerator_type:L4": 0.001}] * 3
    assert launched(prepare_config(read_yaml(file)), *demands) == {"gpu-1x24": 3}


@both
def test_every_gpu_group_is_spot_with_on_demand_behind_it(file: str) -> None:
    config = read_yaml(file)
    assert config["provider"]["module"].startswith("safechain_ray.cluster.spot.")
    for node in workers(config).values():
        settings = node["node_config"]
        spot = settings.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        assert spot or settings["scheduling"]["provisioningModel"] == "SPOT"


@both
def test_the_head_which_has_the_driver_of_a_job_is_no_spot_machine(file: str) -> None:
    config = read_yaml(file)
    settings = config["available_node_types"][config["head_node_type"]]["node_config"]
    assert "InstanceMarketOptions" not in settings
    assert settings.get("scheduling", {}).get("provisioningModel") != "SPOT"
    assert not settings.get("scheduling", {}).get("preemptible")


@both
def test_a_token_is_asked_of_everyone_on_every_node(file: str) -> None:
    config = read_yaml(file)
    for role in ("head", "worker"):
        assert "RAY_AUTH_MODE=token" in start_of(config, role)
    assert "/home/ubuntu/.ray/auth_token" in config["file_mounts"]
    assert any("chmod 600 ~/.ray/auth_token" in command for command in config["setup_commands"])


@both
def test_after_ray_and_once_a_worker_starts_what_tells_ray_of_a_spot_notice_and_nobody_waits_for_it(file: str) -> None:
    config = read_yaml(file)
    stop, start, watch = config["worker_start_ray_commands"]
    assert (stop, start) == ("ray stop", start_of(config, "worker"))
    command, _, redirected = watch.partition(" < ")
    cloud = config["provider"]["module"].split(".")[-2]
    module = "safechain_ray.cluster.spot.interruption_watcher"
    assert command == f"RAY_AUTH_MODE=token setsid --fork ~/venv/bin/python -m {module} {cloud}"
    assert cloud in CLOUDS
    assert redirected == "/dev/null > ~/spot_notice.log 2>&1"
    assert not any(module in command for command in config["head_start_ray_commands"])


@both
def test_the_dashboard_listens_on_the_heads_own_loopback_alone(file: str) -> None:
    start = read_yaml(file)["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in start
    assert "ray-client-server-port" not in start


def test_on_aws_no_node_gets_the_group_that_ray_makes_which_opens_ssh_to_the_world() -> None:
    for node in read_yaml("cluster.yaml")["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"]
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
    assert "security_group" not in read_yaml("cluster.yaml")["provider"]


def test_on_gcp_no_node_has_an_address_outside() -> None:
    config = read_yaml("deploy/gcp.yaml")
    assert config["provider"]["use_internal_ips"] is True
    for node in config["available_node_types"].values():
        (interface,) = node["node_config"]["networkInterfaces"]
        assert "accessConfigs" not in interface


@both
def test_a_stopped_job_gets_a_minute_to_end_cleanly(file: str) -> None:
    assert "RAY_JOB_STOP_WAIT_TIME_S=60" in read_yaml(file)["head_start_ray_commands"][-1]


@both
def test_engines_read_weights_from_the_mounted_bucket_and_never_from_the_hub(file: str) -> None:
    config = read_yaml(file)
    assert "HF_HOME=/weights HF_HUB_OFFLINE=1" in start_of(config, "worker")
    assert any("my-bucket" in command and "/weights" in command for command in config["worker_setup_commands"])


@both
def test_the_head_has_what_the_driver_of_a_training_imports_and_no_build_of_torch_for_gpus(file: str) -> None:
    torch, project = (command for command in read_yaml(file)["head_setup_commands"] if "pip install" in command)
    (pinned,) = (line for line in PROJECT["optional-dependencies"]["cpu"] if line.startswith("torch=="))
    assert torch.endswith(f"{pinned}+cpu --extra-index-url https://download.pytorch.org/whl/cpu")
    assert "-e '/home/ubuntu/safechain_ray[train]'" in project


@both
def test_every_node_gets_the_sandbox_that_benchmarks_need_with_the_profile_that_ubuntu_2404_asks_for(file: str) -> None:
    (install,) = (command for command in read_yaml(file)["setup_commands"] if "bubblewrap" in command)
    assert install.startswith("command -v bwrap ||")
    (profile,) = (command for command in read_yaml(file)["setup_commands"] if "apparmor_parser" in command)
    assert profile.startswith("if grep -qsx 1 /proc/sys/kernel/apparmor_restrict_unprivileged_userns; then")
    assert "profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }" in profile


@both
def test_every_command_reads_as_one_of_the_shell(file: str) -> None:
    for name, commands in read_yaml(file).items():
        for command in commands if name.endswith("_commands") else ():
            read = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
            assert (read.returncode, read.stderr) == (0, ""), command


@both
def test_copies_of_models_go_to_the_nodes_own_disk_and_not_to_the_mount_that_is_read_only(file: str) -> None:
    start = start_of(read_yaml(file), "worker")
    (copies,) = re.findall(r"SAFECHAIN_WEIGHTS=(\S+)", start)
    assert copies.startswith("$HOME/")
    assert start.index("SAFECHAIN_WEIGHTS") < start.index("ray start")
    setup = read_yaml(file)["worker_setup_commands"]
    installed = next(number for number, command in enumerate(setup) if "safechain_ray[gpu" in command)
    mounted = setup.index(f"sudo ~/venv/bin/python -m safechain_ray.cluster.local_disks {copies.replace('$HOME', '~')}")
    assert installed < mounted


@both
def test_nodes_get_what_the_project_is_installed_from_and_no_environment_of_yours(file: str) -> None:
    mounts = {
        remote: Path(local) for remote, local in read_yaml(file)["file_mounts"].items() if "safechain_ray/" in remote
    }
    assert {local.name for local in mounts.values()} == {"safechain_ray", "configs", "pyproject.toml", "README.md"}
    assert all((ROOT / local).exists() for local in mounts.values())


@both
def test_no_secret_stands_in_the_file(file: str) -> None:
    config = read_yaml(file)
    assert config["file_mounts"]["/home/ubuntu/.safechain.env"] == "~/.safechain.env"
    assert not re.search(r"(?i)(api_key|hf_token|secret_access_key|password)\s*[=:]", str(config))


@both
def test_every_node_reads_the_file_of_keys_when_it_starts_and_nobody_else_may(file: str) -> None:
    config = read_yaml(file)
    for role in ("head", "worker"):
        before, _, _ = start_of(config, role).partition("ray start")
        assert "set -a; . ~/.safechain.env; set +a;" in before
    (chmod,) = (command for command in config["setup_commands"] if command.startswith("chmod 600"))
    assert chmod.endswith(" ~/.safechain.env")


@both
def test_every_worker_has_a_role_or_an_account_that_may_use_the_bucket(file: str) -> None:
    """Ray's launcher makes an account for a head on Google Cloud."""
    for node in workers(read_yaml(file)).values():
        settings = node["node_config"]
        assert settings["IamInstanceProfile"] if "InstanceType" in settings else settings["serviceAccounts"]
