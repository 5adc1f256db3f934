"""Sandbox: ordinary programs run normally, and hostile code is contained."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from safechain_ray.benchmarks.sandbox import MIB, Limits, Program, Ran, run, run_programs
from safechain_ray.errors import SandboxError
from tests.sandboxes import needs_sandbox

pytestmark = needs_sandbox

SHORT = Limits(processor_seconds=1, wall_seconds=120, memory=256 * MIB)


def test_a_program_reads_its_input_and_prints():
    ran = run("print(input()[::-1])\nprint('ü', input())", stdin="abc\nß\n")
    assert ran == Ran(0, "cba\nü ß\n", "", "exit")
    assert ran.died_of is None


def test_a_program_is_a_script_with_its_own_names():
    ran = run("import sys\nif __name__ == '__main__': print(sorted(globals()), sys.argv)\nexit(3)")
    assert (
        ran.stdout == "['GIVEN', '__builtins__', '__doc__', '__file__', '__loader__', '__name__', '__package__', "
        "'__spec__', 'sys'] ['solution.py']\n"
    )
    assert (ran.exit_code, ran.ended_by, ran.died_of) == (3, "exit", "ended with exit code 3")


def test_an_exception_is_what_it_died_of():
    assert run("def f(x):\n    return 1 / x\nf(0)").died_of == "ZeroDivisionError: division by zero"


def test_code_that_is_no_python_dies_of_that():
    assert (run("def f(:").died_of or "").startswith("SyntaxError")


def test_a_crash_is_told_by_its_signal():
    ran = run("import ctypes\nctypes.string_at(0)")
    assert (ran.exit_code, ran.ended_by, ran.died_of) == (128 + 11, "signal", "died of SIGSEGV")


def test_input_and_output_larger_than_a_pipe_go_through():
    text = "0123456789" * 60_000
    assert run("print(input())", stdin=text + "\n").stdout == text + "\n"


def test_input_that_is_not_read_is_no_error():
    assert run("print(1)", stdin="x" * 10**6).stdout == "1\n"


def test_numpy_is_there_and_the_project_is_not():
    ran = run("import numpy\nprint(numpy.arange(3).sum())\nimport safechain_ray")
    assert ran.stdout == "3\n"
    assert ran.died_of == "ModuleNotFoundError: No module named 'safechain_ray'"


def test_runs_do_not_see_each_other_and_may_be_side_by_side():
    code = "import os\nprint(os.listdir())\nopen('mine', 'w').write(input())\nprint(open('mine').read(), os.listdir())"
    with ThreadPoolExecutor(4) as threads:
        texts = list(threads.map(lambda number: run(code, str(number)).stdout, range(12)))
    assert texts == [f"[]\n{number} ['mine']\n" for number in range(12)]


def test_programs_that_serve_the_first_one_are_stopped_with_it():
    reading, writing = os.pipe()
    lead = Program("import os\nprint(os.read(GIVEN, 5))", given=reading, wires=(reading,))
    other = Program("import os, time\nos.write(GIVEN, b'hello')\ntime.sleep(600)", given=writing, wires=(writing,))
    first, second = run_programs(lead, other)
    assert (first.stdout, second.ended_by) == ("b'hello'\n", "stopped")


# Hostile code.


def test_forks_without_end_stay_within_the_limit_and_all_of_them_end():
    before = set(psutil.pids())
    code = """
import os, time
children = 0
while True:
    try:
        if os.fork() == 0:
            time.sleep(600)
        children += 1
    except OSError:
        break
print(children)
"""
    ran = run(code, limits=replace(SHORT, processes=5))
    assert (ran.stdout, ran.ended_by) == ("4\n", "exit")
    _assert_gone("sleep(600)", before)


def test_a_fork_bomb_is_ended_by_the_clock():
    ran = run(
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", limits=replace(SHORT, wall_seconds=3)
    )
    assert ran.ended_by in ("wall time", "processor time")


def test_threads_count_as_processes():
    start = "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    code = f"import threading, time\nfor _ in range(50): {start}"
    assert run(code, limits=SHORT).died_of == "RuntimeError: can't start new thread"


def test_sleeping_is_ended_by_the_clock():
    before = set(psutil.pids())
    ran = run("import time\nprint('so far', flush=True)\ntime.sleep(600)", limits=replace(SHORT, wall_seconds=2))
    assert (ran.stdout, ran.ended_by, ran.died_of) == ("so far\n", "wall time", "had not ended after 2 s")
    _assert_gone("sleep(600)", before)


def test_computing_without_end_is_ended_by_its_processor_time():
    ran = run("while True: pass", limits=SHORT)
    assert (ran.ended_by, ran.died_of) == ("processor time", "used more than 1 s of processor time")


def test_ignoring_the_signal_of_that_limit_gives_a_second_more():
    ran = run("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", limits=SHORT)
    assert ran.died_of == "died of SIGKILL"


def test_filling_memory_is_refused():
    assert run("x = bytearray(300 * 2**20)", limits=SHORT).died_of == "MemoryError"
    assert run("x = []\nwhile True: x.append(' ' * 2**20 + str(len(x)))", limits=SHORT).died_of == "MemoryError"


def test_memory_that_counts_for_no_process_can_not_be_had():
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.shmget(0, 1024, 0o1600), ctypes.get_errno())
os.memfd_create("x")
"""
    ran = run(code, limits=SHORT)
    assert (ran.stdout, ran.died_of) == ("-1 1\n", "PermissionError: [Errno 1] Operation not permitted")


def test_the_scratch_is_bounded_by_file_and_as_a_whole():
    limits = Limits(scratch=4 * MIB, file_size=3 * MIB)
    two_files = "for name in 'ab': open(name, 'wb').write(bytes(5 * 2**19))"
    assert run(two_files, limits=limits).died_of == "OSError: [Errno 28] No space left on device"
    one_file = "open('a', 'wb').write(bytes(7 * 2**19))"
    assert run(one_file, limits=limits).died_of == "OSError: [Errno 27] File too large"


def test_nothing_outside_of_the_scratch_can_be_written(tmp_path: Path):
    code = """
import os
for folder in ["/", "/dev", "/dev/shm", "/python/lib", "/usr/lib", "/libraries", "/libraries/numpy", "/etc", "/proc",
               "/var", "/run", os.path.dirname(GIVEN)]:
    try:
        open(folder + "/mine", "w")
        print("wrote to", folder)
    except OSError:
        pass
"""
    given = str(tmp_path / "x")
    assert run_programs(Program(code, given=given))[0].stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_there_is_nothing_of_the_home_of_the_project_or_of_the_system_to_read():
    code = """
import os
for top, folders, files in os.walk("/"):
    if top in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/python/lib", "/libraries/numpy", "/libraries/numpy.libs"):
        folders.clear()
        continue
    for name in folders + files:
        print(os.path.join(top, name))
print(*os.listdir(f"/python/lib/python{os.sys.version_info[0]}.{os.sys.version_info[1]}/site-packages"))
"""
    *paths, packages = run(code).stdout.split("\n")[:-1]
    assert set(paths) <= {
        *("/dev", "/dev/null", "/etc", "/etc/ld.so.cache", "/lib", "/lib64", "/tmp", "/usr", "/usr/lib", "/usr/lib64"),
        *("/libraries", "/libraries/numpy", "/libraries/numpy.libs"),
        *("/python", "/python/bin", "/python/bin/python3", "/python/lib", "/python/lib64"),
    }
    assert packages == ""
    for wanted in (Path.home(), Path(__file__), Path("/etc/passwd"), Path("/bin/sh"), Path("/proc/self/environ")):
        ran = run_programs(Program("import os\nprint(os.path.exists(GIVEN))", given=str(wanted)))[0]
        assert ran.stdout == "False\n", wanted


def test_no_program_of_the_system_can_be_started():
    """Libraries of the system come with programs in their folders; Python and the linker have to be there too."""
    code = """
import os
tried = started = 0
for top, _, files in os.walk("/"):
    for path in (os.path.join(top, file) for file in files):
        if os.access(path, os.X_OK):
            tried += 1
            try:
                os.posix_spawn(path, [path, "--version"], {})
                started += 1
            except PermissionError:
                pass
print(tried > 1, started)
os.execv("/python/bin/python3", ["python3", "-c", "print('started')"])
"""
    ran = run(code)
    assert (ran.stdout, ran.died_of) == ("True 0\n", "PermissionError: [Errno 1] Operation not permitted")


def test_a_program_that_was_written_to_the_scratch_can_not_be_started():
    code = """
import os, subprocess
for text in ("#!/python/bin/python3\\nprint('started')", open("/python/bin/python3", "rb").read(2**20)):
    with open("mine", "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    os.chmod("mine", 0o755)
    try:
        subprocess.run(["./mine"])
    except PermissionError as error:
        print(error.errno)
os.system("./mine")
"""
    ran = run(code)
    assert (ran.stdout, ran.stderr, ran.exit_code) == ("1\n1\n", "", 0)


def test_secrets_of_the_environment_are_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "a-secret-of-the-environment")
    ran = run("import os, json\nprint(json.dumps(dict(os.environ)))")
    assert "secret" not in ran.stdout
    assert set(json.loads(ran.stdout)) <= {
        *("HOME", "LD_LIBRARY_PATH", "OPENBLAS_NUM_THREADS", "PATH", "PYTHONHASHSEED", "PWD", "LC_CTYPE")
    }


def test_no_descriptor_of_the_caller_is_open(tmp_path: Path):
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        ran = run(
            "import os\nfor number in range(3, 64):\n    try: print(number, os.fstat(number))\n    except OSError: pass"
        )
    assert ran.stdout == ""


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK"])
def test_sockets_are_refused(family: str):
    ran = run(f"import socket\nsocket.socket(socket.{family}, socket.SOCK_RAW)")
    assert ran.died_of == "OSError: [Errno 97] Address family not supported by protocol"


def test_the_sockets_of_this_machine_are_out_of_reach():
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0safechain-test-" + str(os.getpid()))  # an abstract one lies in no file system
        server.listen()
        code = "import socket\nsocket.socket(socket.AF_UNIX).connect(GIVEN)"
        ran = run_programs(Program(code, given=server.getsockname()))[0]
    assert ran.died_of == "ConnectionRefusedError: [Errno 111] Connection refused"


def test_pairs_of_sockets_within_the_sandbox_work():
    assert run("import asyncio\nasync def f(): print(1)\nasyncio.run(f())").stdout == "1\n"


def test_printing_for_ever_is_ended():
    ran = run("while True: print('x' * 1000)", limits=replace(SHORT, output=50_000))
    assert (ran.ended_by, len(ran.stdout), ran.died_of) == ("output", 50_000, "printed more than 50,000 bytes")


def test_killing_its_parent_and_everybody_else_kills_nobody_else():
    code = """
import os, signal
for target in (os.getppid(), -1, *range(3, 5000)):
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            if target != os.getpid(): os.kill(target, number)
        except OSError: pass
print("still here")
"""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        ran = run(code)
        assert ran.stdout == "still here\n"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_what_it_leaves_in_the_background_ends_with_it():
    before = set(psutil.pids())
    code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\nprint('done')"
    started = time.monotonic()
    assert run(code).stdout == "done\n"
    assert time.monotonic() - started < 300
    _assert_gone("sleep(600)", before)


@pytest.mark.parametrize(
    "call",
    [
        "unshare(0x10000000)",
        "unshare(0x20000)",
        "mount(0, b'/tmp', b'tmpfs', 0, 0)",
        "chroot(b'/tmp')",
        "ptrace(0, 0, 0, 0)",
    ],
)
def test_ways_out_of_a_sandbox_are_refused(call: str):
    code = f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nprint(libc.{call}, ctypes.get_errno())"
    assert run(code).stdout == "-1 1\n"


def test_it_is_not_root_and_can_not_become_root():
    ran = run("import os\nprint(os.getuid() != 0, os.geteuid() != 0, os.getgid() != 0, os.getgroups())\nos.setuid(0)")
    assert ran.stdout in ("True True True []\n", "True True True [65534]\n")
    assert ran.died_of == "PermissionError: [Errno 1] Operation not permitted"


def test_everything_dies_with_the_caller():
    before = set(psutil.pids())
    code = (
        "from safechain_ray.benchmarks.sandbox import run\nprint(1, flush=True)\nrun('import time\\ntime.sleep(600)')"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert caller.stdout is not None
    caller.stdout.readline()
    deadline = time.monotonic() + 60
    while not _bubblewraps(before) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    caller.kill()
    caller.wait()
    caller.stdout.close()
    _assert_gone("sleep(600)", before)


def test_a_sandbox_that_can_not_be_set_up_is_an_error_and_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from safechain_ray.benchmarks.sandbox import bubblewrap

    monkeypatch.setattr(bubblewrap, "_mounts", lambda: ("--ro-bind", str(tmp_path / "missing"), "/x"))
    with pytest.raises(SandboxError, match=r"bubblewrap could not set up the sandbox: .*missing"):
        run("print(1)")


def _bubblewraps(before: set[int]) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["name"]) if each.pid not in before and each.info["name"] == "bwrap"]


def _assert_gone(what: str, before: set[int]) -> None:
    """That no new process of a sandbox is left; its end takes the kernel a moment."""
    deadline = time.monotonic() + 60
    while left := _of_sandboxes(before):
        assert time.monotonic() < deadline, f"{what}: {left}"
        time.sleep(0.05)


def _of_sandboxes(before: set[int]) -> list[str]:
    found = []
    for each in psutil.process_iter(["name", "cmdline", "status"]):
        command = " ".join(each.info["cmdline"] or [])
        if each.pid not in before and ("/python/bin/python3" in command) and each.info["status"] != "zombie":
            found.append(command[:80])
    return found
