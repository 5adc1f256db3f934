"""The child of `LimitedProcess`: a script that is not imported. Arguments: a worker's file, memory, seconds, parent.

Each line of its input is a request as JSON, each line of its output a reply: `{"answer": ...}`, `{"error": text}` for
an exception, `{"limit": text}` for too little memory. Processor time above the limit ends the process by SIGXCPU.
"""

import json
import os
import resource
import runpy
import sys
import time
from threading import Thread


def _limit(kind: int, most: int) -> None:
    """Sets the limit to `most`, or to what the machine allows where that is less."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


IS_MACOS = sys.platform == "darwin"


def _limit_memory(most: int) -> None:
    """macOS counts gigabytes of reserved addresses, and refuses a lower limit: `_watch` bounds the memory there."""
    if not IS_MACOS:
        _limit(resource.RLIMIT_AS, most)


def _resident_bytes() -> int:
    import psutil  # on macOS only: the import takes milliseconds of each child's start

    return int(psutil.Process().memory_info().rss)


def _watch(parent: int, memory: int) -> None:
    """End this process after its parent's death: a worker that waits in a call would not see the end of its input.

    PR_SET_PDEATHSIG would not do: it follows the thread that started the process, and other threads send requests too.
    On macOS the process also ends when its resident memory exceeds `memory`.
    """
    while os.getppid() == parent:
        if IS_MACOS and _resident_bytes() > memory:
            os._exit(1)
        time.sleep(0.1 if IS_MACOS else 1)
    os._exit(1)


def main(worker: str, memory: int, seconds: int, parent: int) -> None:
    Thread(target=_watch, args=[parent, memory], daemon=True).start()
    # The output of libraries must not be read as an answer.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answer = runpy.run_path(worker)["answer"]
    _limit(resource.RLIMIT_CORE, 0)  # SIGXCPU would leave one
    _limit_memory(memory)
    for line in sys.stdin:
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)
        try:
            reply = json.dumps({"answer": answer(json.loads(line))})
        except MemoryError:
            reply = json.dumps({"limit": f"took more than {memory / 2**30:g} GiB of memory"})
        except Exception as error:
            reply = json.dumps({"error": str(error).strip() or type(error).__name__})
        print(reply, file=replies, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
