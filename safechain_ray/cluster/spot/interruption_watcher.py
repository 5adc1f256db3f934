"""Tells Ray of a spot notice: watches the cloud's metadata service beside a node's Ray, and drains the node.

    python -m safechain_ray.cluster.spot.interruption_watcher aws

Neither AWS nor Google Cloud tells Ray that a machine is about to be taken back. Without this the node just dies, and
its rows wait until Ray has noticed. Where the cluster asks for tokens, this needs what `ray start` needs:
RAY_AUTH_MODE=token.
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
from safechain_ray.errors import InputError

POLL_INTERVAL = 2.0

AWS_NOTICE_SECONDS = 120.0
GCP_NOTICE_SECONDS = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """The cloud takes this machine back. `seconds` are what is left, `words` what the cloud said."""

    seconds: float
    words: str


@dataclass(frozen=True, slots=True)
class Raylet:
    """The process that a node of Ray lives and dies with."""

    process: psutil.Process
    node_id: str
    gcs_address: str

    @classmethod
    def here(cls, node_id: str | None) -> "Raylet":
        """The one of this machine, or of these that of `node_id`. Raises InputError where there is not just one."""
        found = [raylet for raylet in _raylets() if node_id in (None, raylet.node_id)]
        if len(found) != 1:
            raise InputError(
                f"{len(found)} nodes of Ray run on this machine{f' with the id {node_id}' if node_id else ''}. "
                "Start this after `ray start`, and where there are several with --node-id."
            )
        return found[0]

    def ends_within(self, seconds: float) -> bool:
        with suppress(psutil.TimeoutExpired):
            self.process.wait(seconds)
            return True
        return False

    def drain(self, notice: Notice) -> None:
        """Raises what Ray raises where the head can't be reached, InputError where it refuses."""
        why_not = drain_node(self.gcs_address, self.node_id, f"spot notice: {notice.words}", notice.seconds)
        if why_not is not None:
            raise InputError(f"Ray refuses to drain this node: {why_not}")


def aws_notice(metadata: httpx.Client) -> Notice | None:
    """Raises httpx.HTTPError where the service gives no answer, or another than its documented ones."""
    asked = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    token = metadata.put("/latest/api/token", headers=asked).raise_for_status().text
    answer = metadata.get("/latest/meta-data/spot/instance-action", headers={"X-aws-ec2-metadata-token": token})
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    words = answer.raise_for_status().text
    return Notice(_seconds_left(words), words)


def gcp_notice(metadata: httpx.Client) -> Notice | None:
    """Raises httpx.HTTPError where the service gives no answer, or another than its documented ones."""
    answer = metadata.get("/computeMetadata/v1/instance/preempted", headers={"Metadata-Flavor": "Google"})
    preempted = answer.raise_for_status().text.strip()
    return Notice(GCP_NOTICE_SECONDS, f"preempted is {preempted}") if preempted == "TRUE" else None


def _seconds_left(words: str) -> float:
    """Until the time that AWS names, at most the two minutes that it promises; these too where no time can be read."""
    try:
        left = datetime.fromisoformat(json.loads(words)["time"]).timestamp() - time.time()
    except (ValueError, LookupError, TypeError):
        return AWS_NOTICE_SECONDS
    return min(max(left, 1.0), AWS_NOTICE_SECONDS)


CLOUDS: Mapping[str, tuple[str, Callable[[httpx.Client], Notice | None]]] = {
    "aws": ("http://169.254.169.254", aws_notice),
    "gcp": ("http://metadata.google.internal", gcp_notice),
}
"""Where each cloud's metadata service is, and how it is read."""


def watch(raylet: Raylet, metadata: httpx.Client, read: Callable[[httpx.Client], Notice | None]) -> None:
    """Return when the node was drained on a notice, or is gone."""
    trouble = None
    while not raylet.ends_within(POLL_INTERVAL):
        try:
            notice = read(metadata)
            if notice is not None:
                raylet.drain(notice)
                logger.info("Drained node %s with %.0f s left: %s", raylet.node_id, notice.seconds, notice.words)
                return
        except Exception as error:  # of the service or of Ray: the next look may go well, and nobody else looks
            if repr(error) != trouble:
                logger.warning("Looked for a spot notice in vain, and goes on looking: %r", error)
            trouble = repr(error)


def _raylets() -> list[Raylet]:
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        flags = dict(part.split("=", 1) for part in process.info["cmdline"] or () if "=" in part)
        if process.info["name"] == "raylet" and "--node_id" in flags:
            found.append(Raylet(process, flags["--node_id"], flags["--gcs-address"]))
    return found


@click.command()
@click.argument("cloud", type=click.Choice(sorted(CLOUDS)))
@click.option("--metadata", metavar="URL", help="Where the cloud's metadata service is, if not where it always is.")
@click.option("--node-id", metavar="ID", help="Ray's id of the node, on a machine with several.")
def main(cloud: str, metadata: str | None, node_id: str | None) -> None:
    """Watch for the notice that CLOUD takes this spot machine back, and drain its Ray node then.

    Ends with the node, so that it is started once after each `ray start`.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # or a line for each look
    usual, read = CLOUDS[cloud]
    if not DRAIN_NODE.is_on():
        raise click.ClickException("This Ray has no way to drain a node on a spot notice.")
    try:
        raylet = Raylet.here(node_id)
    except InputError as error:
        raise click.ClickException(str(error)) from error
    with httpx.Client(base_url=metadata or usual, timeout=POLL_INTERVAL, trust_env=False) as client:
        watch(raylet, client, read)


if __name__ == "__main__":
    main()
