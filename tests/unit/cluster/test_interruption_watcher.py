"""How the notices of the clouds are read, from a real server in place of their metadata services; no Ray is there."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer
from typing import Any

import httpx
import psutil
import pytest
from click.testing import CliRunner

from safechain_ray.cluster.spot import interruption_watcher
from safechain_ray.cluster.spot.interruption_watcher import Notice, Raylet, aws_notice, gcp_notice, main, watch
from tests.metadata_server import Metadata, metadata_server


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with metadata_server() as running:
        yield running


@pytest.fixture
def client(metadata: Metadata) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=metadata.url, trust_env=False) as client:
        yield client


def in_seconds(seconds: float, action: str = "terminate") -> str:
    then = datetime.now(UTC) + timedelta(seconds=seconds)
    return json.dumps({"action": action, "time": then.strftime("%Y-%m-%dT%H:%M:%SZ")})


def test_a_machine_that_nobody_takes_back_has_no_notice(client: httpx.Client) -> None:
    assert aws_notice(client) is None
    assert gcp_notice(client) is None


@pytest.mark.parametrize("action", ["terminate", "stop", "hibernate"])
def test_aws_says_what_it_does_and_when(metadata: Metadata, client: httpx.Client, action: str) -> None:
    metadata.notice = in_seconds(90, action)
    notice = aws_notice(client)
    assert notice is not None
    assert notice.seconds == pytest.approx(90, abs=10)
    assert notice.words == metadata.notice


@pytest.mark.parametrize(
    ("words", "seconds"),
    [(in_seconds(-60), 1), (in_seconds(3600), 120), ("not JSON", 120), ('{"action": "stop"}', 120), ("[]", 120)],
)
def test_aws_gives_two_minutes_at_most_and_the_deadline_lies_ahead_whatever_the_clocks_say(
    metadata: Metadata, client: httpx.Client, words: str, seconds: float
) -> None:
    metadata.notice = words
    assert aws_notice(client) == Notice(seconds, words)


def test_google_says_only_that_it_does_and_gives_half_a_minute(metadata: Metadata, client: httpx.Client) -> None:
    metadata.preempted = "TRUE"
    assert gcp_notice(client) == Notice(30, "preempted is TRUE")


@pytest.mark.parametrize("read", [aws_notice, gcp_notice])
def test_a_service_in_trouble_gives_no_notice_and_none_is_made_up(
    metadata: Metadata, client: httpx.Client, read: Any
) -> None:
    metadata.broken = True
    with pytest.raises(httpx.HTTPStatusError):
        read(client)


@dataclass
class Node:
    """In place of a raylet: lives for so many looks, and is drained unless its head is away."""

    looks: int
    node_id: str = "id"
    head_is_away: int = 0
    drained: list[Notice] = field(default_factory=list)

    def ends_within(self, seconds: float) -> bool:
        self.looks -= 1
        return self.looks < 0

    def drain(self, notice: Notice) -> None:
        self.head_is_away -= 1
        if self.head_is_away >= 0:
            raise ConnectionError("no head")
        self.drained.append(notice)


def test_the_node_is_drained_once_and_the_watch_ends(metadata: Metadata, client: httpx.Client) -> None:
    metadata.preempted = "TRUE"
    node: Any = Node(looks=9)
    watch(node, client, gcp_notice)
    assert len(node.drained) == 1
    assert node.looks == 8


def test_a_head_that_is_away_for_a_moment_is_told_at_the_next_look(metadata: Metadata, client: httpx.Client) -> None:
    metadata.preempted = "TRUE"
    node: Any = Node(looks=9, head_is_away=2)
    watch(node, client, gcp_notice)
    assert len(node.drained) == 1


def test_the_watch_outlives_a_service_in_trouble_and_says_so_once(
    metadata: Metadata, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[Any] = []
    monkeypatch.setattr(interruption_watcher.logger, "warning", lambda *said: warnings.append(said))
    metadata.broken = True
    node: Any = Node(looks=3)
    watch(node, client, gcp_notice)
    assert metadata.looks == 3
    assert node.drained == []
    ((words, *values),) = warnings
    assert "failed on node id: HTTPStatusError(" in words % tuple(values)
    assert (words % tuple(values)).endswith(f"check that {client.base_url} and the Ray head node answer.")


def test_the_watch_ends_with_the_process_of_its_node() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        raylet = Raylet(psutil.Process(process.pid), "id", "address")
        assert not raylet.ends_within(0.1)
        Timer(0.5, process.terminate).start()
        assert raylet.ends_within(60)


def a_raylet(folder: Path) -> subprocess.Popen[bytes]:
    """A process that calls itself as Ray's does."""
    script = folder / "raylet"
    script.write_text("#!/bin/sh\nwhile :; do sleep 1; done\n")
    script.chmod(0o755)
    return subprocess.Popen([script, f"--node_id={folder.name}", "--gcs-address=10.0.0.1:6379"])


def test_the_node_of_this_machine_is_found_by_its_process(tmp_path: Path) -> None:
    process = a_raylet(tmp_path)
    try:
        found = Raylet.here(tmp_path.name)
    finally:
        process.kill()
        process.wait()
    assert (found.process.pid, found.node_id, found.gcs_address) == (process.pid, tmp_path.name, "10.0.0.1:6379")


def test_without_a_node_of_ray_it_says_so_and_ends() -> None:
    result = CliRunner().invoke(main, ["aws", "--node-id", "of none"])
    assert result.exit_code == 1
    assert "0 nodes of Ray run on this machine with the id of none. Fix: start this after `ray start`" in result.output
