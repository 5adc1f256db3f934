"""Tries a way of building the sandbox from inside: a limit that does not hold rules the way out."""

from safechain_ray.benchmarks.sandbox.bubblewrap import Bubblewrap, Way
from safechain_ray.benchmarks.sandbox.limits import MIB, Limits, Program
from safechain_ray.benchmarks.sandbox.running import run_in
from safechain_ray.errors import SandboxError

LIMITS = Limits(processes=3, memory=256 * MIB)

# Prints a line for each promise that is broken, then that it came to its end.
PROBE = """
import os, socket, time

def refused(action):
    try:
        action()
    except (OSError, MemoryError):
        return True
    return False

if os.getuid() == 0 or not refused(lambda: os.setuid(0)):
    print("the program runs as root")
if not refused(lambda: bytearray(300 * 2**20)):
    print("it may take more memory than its limit")
if not refused(lambda: socket.socket(socket.AF_INET)):
    print("it may open a socket")
if not refused(lambda: open("/file", "w")):
    print("it may write outside of its scratch")
if not refused(lambda: os.execv("/python/bin/python3", ["python3", "-c", ""])):
    print("it may start programs")
children = 0
while children < 8:
    try:
        if os.fork() == 0:
            time.sleep(600)
    except OSError:
        break
    children += 1
if children == 8:
    print("it may start more processes than its limit")
print("tried")
"""


def fault_of(bwrap: Bubblewrap, way: Way) -> str | None:
    """Why the way is no good, None where it is."""
    try:
        ran = run_in(bwrap, way, Program(PROBE, limits=LIMITS))[0]
    except SandboxError as error:
        return str(error)
    *broken, last = ran.stdout.splitlines() or [""]
    if last != "tried":
        return ran.died_of or "the trial program did not come to its end"
    return "; ".join(broken) or None
