"""First program inside the sandbox: applies the limits, then runs the untrusted program.

Its source is passed to the sandbox's own Python, which has neither this package nor any file of it.
"""

import marshal
import os
import resource
import sys
from types import CodeType, ModuleType

SET_SECCOMP, MODE_FILTER = 22, 2  # of prctl(2)


def main(startup: int) -> None:
    """Read the startup data from the file descriptor `startup` and become the program.

    The data are a user id or None, rlimits as (name, soft, hard), a system call filter, the folder of libraries, the
    program and its GIVEN.
    """
    with open(startup, "rb") as file:
        user, rlimits, no_programs, libraries, program, given = marshal.load(file)
    if user is not None:
        # Before the limits, because one of them counts the user's processes. Dropping root drops all capabilities too.
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    for name, soft, hard in rlimits:
        limit = getattr(resource, name)
        most = resource.getrlimit(limit)[1]
        bound = hard if most == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(limit, (min(soft, bound), bound))
    filter_calls(no_programs)
    sys.path.append(libraries)
    become(program, given)


def filter_calls(instructions: bytes) -> None:
    """Add a seccomp filter to this process, permanently.

    Avoids `ctypes`, whose import takes some milliseconds per run.
    """
    import _ctypes
    from array import array
    from struct import pack

    code = array("B", instructions)
    address, size = code.buffer_info()
    this_process = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # typeshed knows no None
    prctl = _ctypes.dlsym(this_process, "prctl")
    if _ctypes.call_function(prctl, (SET_SECCOMP, MODE_FILTER, pack("@HP", size // 8, address), 0, 0)) != 0:
        raise OSError("the kernel accepts no system call filter")


def become(program: str | CodeType, given: object) -> None:
    """Run the program as Python runs a script, except that tracebacks can't show its lines."""
    import _sitebuiltins
    import builtins

    # Python was started without `site`, which doubles the start time and defines these two for scripts.
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")
    module = ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __file__="solution.py", GIVEN=given)
    sys.modules["__main__"] = module
    sys.argv = ["solution.py"]
    code = compile(program, "solution.py", "exec", dont_inherit=True) if isinstance(program, str) else program
    exec(code, module.__dict__)


if __name__ == "__main__":
    main(int(sys.argv[1]))
