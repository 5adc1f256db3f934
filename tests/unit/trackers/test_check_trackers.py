"""The check of trackers before a run starts: package, key and address, each with its fix."""

import pytest

from safechain_ray.errors import InputError
from safechain_ray.trackers import base
from safechain_ray.trackers.base import check_trackers


def test_nothing_is_needed_for_tensorboard() -> None:
    check_trackers(["tensorboard"])


def test_a_package_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None)

    with pytest.raises(InputError, match="pip install wandb mlflow-skinny"):
        check_trackers(["wandb", "mlflow"])


def test_mlflow_needs_the_address_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI"):
        check_trackers(["mlflow"])


@pytest.mark.slow
def test_wandb_needs_a_key_unless_it_is_offline(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)

    with pytest.raises(InputError, match="wandb login"):
        check_trackers(["wandb"])
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_trackers(["wandb"])
