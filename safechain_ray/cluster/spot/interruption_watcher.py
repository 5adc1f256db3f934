"""Spot interruption watcher: polls the cloud's metadata service on a node, and drains the node in Ray on a notice.

    python -m safechain_ray.cluster.spot.interruption_watcher aws

Neither AWS nor Google Cloud notifies Ray before it interrupts a spot machine. Without this process the node dies, and
its rows wait until Ray detects the death. Where the cluster uses token authentication, the watcher needs the variables
of `ray start`: RAY_AUTH_MODE=token.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import click
import httpx
import psutil

from safechain_ray.cluster.ray_internals.cluster_state import DRAIN_NODE, drain_node
from safechain_ray.cluster.ray_internals.hooks import TESTED_RAY
from safechain_ray.errors import InputError

POLL_INTERVAL = 2.0

AWS_NOTICE_SECONDS = 120.0
GCP_NOTICE_SECONDS = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """Notice of an interruption. `seconds` is the time left; `words` is the cloud's answer."""

    seconds: float
    words: str


@dataclass(frozen=True, slots=True)
class Raylet:
    """The raylet: the process of a Ray node."""

    process: psutil.Process
    node_id: str
    gcs_address: str

    @classmethod
    def here(cls, node_id: str | None) -> "Raylet":
        """The raylet of this machine, or that of `node_id`. Raises InputError where there is not exactly one."""
        found = [raylet for raylet in _raylets() if node_id in (None, raylet.node_id)]
        if len(found) != 1:
            raise InputError(
                f"{len(found)} nodes of Ray run on this machine{f' with the id {node_id}' if node_id else ''}. "
                "Fix: start this after `ray start`, with --node-id where there are several nodes."
            )
        return found[0]

    def ends_within(self, seconds: float) -> bool:
        with suppress(psutil.TimeoutExpired):
            self.process.wait(seconds)
            return True
        return False

    def drain(self, notice: Notice) -> None:
        """Drain the node. Raises Ray's error where the head can't be reached, InputError where Ray refuses."""
        why_not = drain_node(self.gcs_address, self.node_id, f"spot notice: {notice.words}", notice.seconds)
        if why_not is not None:
            raise InputError(f"Ray refuses to drain this node: {why_not}")


def aws_notice(metadata: httpx.Client) -> Notice | None:
    """The notice of the metadata service; None without one. Raises httpx.HTTPError for any undocumented answer."""
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    token = metadata.put("/latest/api/token", headers=lifetime).raise_for_status().text
    answer = metadata.get("/latest/meta-data/spot/instance-action", headers={"X-aws-ec2-metadata-token": token})
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    words = answer.raise_for_status().text
    return Notice(_seconds_left(words), words)


def gcp_notice(metadata: httpx.Client) -> Notice | None:
    """The notice of the metadata service; None without one. Raises httpx.HTTPError for any undocumented answer."""
    answer = metadata.get("/computeMetadata/v1/instance/preempted", headers={"Metadata-Flavor": "Google"})
    preempted = answer.raise_for_status().text.strip()
    return Notice(GCP_NOTICE_SECONDS, f"preempted is {preempted}") if preempted == "TRUE" else None


def _seconds_left(words: str) -> float:
    """Seconds until the time in the notice, at most the two minutes of AWS's notice; two minutes without a time."""
    try:
        left = datetime.fromisoformat(json.loads(words)["time"]).timestamp() - time.time()
    except (ValueError, LookupError, TypeError):
        return AWS_NOTICE_SECONDS
    return min(max(left, 1.0), AWS_NOTICE_SECONDS)


CLOUDS: Mapping[str, tuple[str, Callable[[httpx.Client], Notice | None]]] = {
    "aws": ("http://169.254.169.254", aws_notice),
    "gcp": ("http://metadata.google.internal", gcp_notice),
}
"""The address of each cloud's metadata service, and the function that reads it."""


def watch(raylet: Raylet, metadata: httpx.Client, read: Callable[[httpx.Client], Notice | None]) -> None:
    """Poll until the node is drained after a notice, or has ended."""
    last_error = None
    while not raylet.ends_within(POLL_INTERVAL):
        try:
            notice = read(metadata)
            if notice is not None:
                raylet.drain(notice)
                logger.info(
                    "Drained node %s after a spot notice: the cloud stops this machine in %.0f s (%s). "
                    "The node's rows are requeued on other nodes.",
                    raylet.node_id,
                    notice.seconds,
                    notice.words,
                )
                return
        except Exception as error:  # of the service or of Ray: the next poll may succeed
            if repr(error) != last_error:
                logger.warning(
                    "The poll for a spot notice failed on node %s: %r. It is repeated every %g s. Until it succeeds, a "
                    "notice does not drain the node. Fix: check that %s and the Ray head node answer.",
                    raylet.node_id,
                    error,
                    POLL_INTERVAL,
                    metadata.base_url,
                )
            last_error = repr(error)


def _raylets() -> list[Raylet]:
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        flags = dict(part.split("=", 1) for part in process.info["cmdline"] or () if "=" in part)
        if process.info["name"] == "raylet" and "--node_id" in flags:
            found.append(Raylet(process, flags["--node_id"], flags["--gcs-address"]))
    return found


@click.command()
@click.argument("cloud", type=click.Choice(sorted(CLOUDS)))
@click.option("--metadata", metavar="URL", help="Address of the cloud's metadata service, if not the usual one.")
@click.option("--node-id", metavar="ID", help="Ray's id of the node, on a machine with several.")
def main(cloud: str, metadata: str | None, node_id: str | None) -> None:
    """Watch for a notice that CLOUD interrupts this spot machine, and drain its Ray node.

    The process ends with the node. Start it once after each `ray start`.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each poll otherwise
    usual_address, read = CLOUDS[cloud]
    if not DRAIN_NODE.is_on():
        raise click.ClickException(
            f"This version of Ray can't drain a node on a spot notice. Fix: install ray=={TESTED_RAY}."
        )
    try:
        raylet = Raylet.here(node_id)
    except InputError as error:
        raise click.ClickException(str(error)) from error
    with httpx.Client(base_url=metadata or usual_address, timeout=POLL_INTERVAL, trust_env=False) as client:
        watch(raylet, client, read)


if __name__ == "__main__":
    main()
