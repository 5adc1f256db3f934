"""The `safechain-ray` command with scripted engines for vLLM's: `scripted_cli.py SECONDS_A_REQUEST ARGUMENTS`."""

import sys

from scripted_runs import GUARD, MODEL, guard_script

from safechain_ray import cli
from safechain_ray.engines import vllm
from safechain_ray.engines.scripted import Script, ScriptedEngines

if __name__ == "__main__":
    seconds = float(sys.argv.pop(1))
    vllm.start_vllm = ScriptedEngines({MODEL: Script(seconds=seconds), GUARD: guard_script(seconds=seconds)})
    cli.main()
