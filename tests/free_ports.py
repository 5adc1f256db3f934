"""Ports for servers that a test starts as other processes."""

import random
import socket
from contextlib import suppress

CHOICE = range(20_000, 32_000)
"""Above the ports of Ray's workers, and below those that Linux gives to outgoing connections.

A server may listen seconds after its port was chosen. By then, a connection of another process may use a port that
`bind` with 0 found free.
"""


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, all different."""
    found: list[int] = []
    for port in random.SystemRandom().sample(CHOICE, len(CHOICE)):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    return found
