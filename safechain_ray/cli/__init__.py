"""The `safechain-ray` command: the group of all commands, and the console script."""

import click

from safechain_ray import __version__
from safechain_ray.cli.benchmark import benchmark
from safechain_ray.cli.build_dataset import build_dataset
from safechain_ray.cli.common import ExitCode
from safechain_ray.cli.compare import compare
from safechain_ray.cli.config import config
from safechain_ray.cli.doctor import doctor
from safechain_ray.cli.evaluate import evaluate
from safechain_ray.cli.export import export
from safechain_ray.cli.finetune import finetune
from safechain_ray.cli.import_responses import import_responses
from safechain_ray.cli.judge import judge
from safechain_ray.cli.judge_study import judge_study
from safechain_ray.cli.listing import list_entries
from safechain_ray.cli.plan import plan
from safechain_ray.cli.prefer import prefer
from safechain_ray.cli.push import push
from safechain_ray.cli.report import report
from safechain_ray.cli.status import status
from safechain_ray.cli.sweep import sweep

COMMANDS = (
    *(benchmark, build_dataset, compare, config, doctor, evaluate, export, finetune, import_responses),
    *(judge, judge_study, list_entries, plan, prefer, push, report, status, sweep),
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},  # commands inherit both names
    epilog="Exit codes: 0 done, 1 failed, 2 wrong input, 3 done, but some samples ended with an error or a judge "
    "failed on some verdicts (judge-study, prefer: some are missing), 130 interrupted.",
)
@click.version_option(__version__, prog_name="safechain-ray")
def app() -> None:
    """Measure the safety of large reasoning models: in what they think and in what they answer."""


for _command in COMMANDS:
    app.add_command(_command)


def main() -> None:
    """The console script."""
    exit_code = ExitCode()
    try:
        app(prog_name="safechain-ray")
    except SystemExit as end:
        exit_code.keep(end.code)
        raise
