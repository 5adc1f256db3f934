"""Shared option groups. An option that sets a config key names the key, so that commands need no mapping of flags.

Example:
    @click.command()
    @config_options()
    @model_options
    @cluster_options
    @output_options
    def evaluate(*, config: Path, profile: str, assignments: tuple[str, ...], as_json: bool, **flags: Any) -> None:
        read_config_as(RunConfig, config, by_key(flags), assignments, profile)
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.catalog.sources import VARIABLE
from safechain_ray.cli.completion import complete, complete_key
from safechain_ray.config import config_path
from safechain_ray.decoding.base import STRATEGIES
from safechain_ray.errors import InputError
from safechain_ray.metrics.published import StandIns
from safechain_ray.report.document import Document

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

OUTPUT_FORMATS = ("table", "markdown", "latex")


class KeyedOption(click.Option):
    """An option that sets a config key. `LIST.*.KEY` is a key of every item of a list."""

    def __init__(self, *arguments: Any, key: str, **attributes: Any) -> None:
        super().__init__(*arguments, **{"shell_complete": complete_key(key), **attributes})
        self.key = key


def key_option(key: str, *names: str, **attributes: Any) -> Decorator:
    """`click.option` for an option that sets a config key.

    Example:
        >>> top_p = key_option("sampling.top_p", "--top-p", type=float, help="Nucleus sampling, in (0, 1].")
    """
    return click.option(*names, cls=KeyedOption, key=key, **attributes)


def keyed_options(command: click.Command) -> Iterator[KeyedOption]:
    return (option for option in command.params if isinstance(option, KeyedOption))


def by_key(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The given flags under the config keys of the current command's options."""
    keys = {option.name: option.key for option in keyed_options(click.get_current_context().command)}
    return {keys[flag]: list(value) if isinstance(value, tuple) else value for flag, value in only_given(flags).items()}


def with_items(given: Mapping[str, Any], key: str, items: Sequence[dict[str, Any]], flag: str) -> dict[str, Any]:
    """`given` with the items as the list `key`; the values of `KEY.*.NAME` move into every item.

    Raises InputError for such a value without an item, which `flag` would add.
    """
    prefix = f"{key}.*."
    of_each = {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
    others = {name: value for name, value in given.items() if not name.startswith(prefix)}
    if items:
        return others | {key: [item | of_each for item in items]}
    if of_each:
        command = click.get_current_context().command
        (used,) = (each.opts[-1] for each in keyed_options(command) if each.key == prefix + next(iter(of_each)))
        raise InputError(f"{used} needs a {flag}. Fix: add {flag}.")
    return others


def only_given(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {flag: value for flag, value in flags.items() if is_given(value)}


def is_given(value: Any) -> bool:
    return value is not None and value != ()


def group(*options: Decorator) -> Decorator:
    """One decorator that adds the options in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


class ConfigFile(click.Path):
    """The path of a config file, or the name of one that ships with the package."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return config_path(os.fsdecode(super().convert(value, param, ctx)))


def set_option(help: str = "Set any key of the config. Repeatable.") -> Decorator:
    """The command gets it as `assignments`."""
    return click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help=help)


def config_options(*, required: bool = False) -> Decorator:
    """The command gets them as `config`, `profile` and `assignments`."""
    wins = "" if required else "; flags override it"
    return group(
        click.option(
            "-c",
            "--config",
            type=ConfigFile(),
            required=required,
            shell_complete=complete("config"),
            help=f"Config file in YAML, or a name of `config list`{wins}. A file wins, also without its .yaml.",
        ),
        click.option("--profile", metavar="NAME", help="Use the values under profiles.NAME of the config file."),
        set_option(),
    )


def _use_catalog(context: click.Context, option: click.Parameter, paths: tuple[str, ...]) -> None:
    """Add the paths to SAFECHAIN_CATALOG for the time of the command, and for the processes that it starts."""
    if not paths:
        return
    for path in paths:
        if not path or os.pathsep in path:
            raise click.BadParameter(f"{path!r} is no path: it is empty, or has a {os.pathsep!r} in it.")
    before = os.environ.get(VARIABLE)
    own = (os.path.abspath(os.path.expanduser(path)) for path in paths)
    os.environ[VARIABLE] = os.pathsep.join([*([before] if before else []), *own])

    def restore() -> None:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before

    context.call_on_close(restore)


catalog_option = click.option(
    "--catalog",
    multiple=True,
    metavar="PATH",
    type=click.Path(),
    is_eager=True,  # its entries are known to the other options
    expose_value=False,
    callback=_use_catalog,
    help=f"Catalog of your own: a YAML file or a folder, beside {VARIABLE}. Repeatable.",
)

model_option = key_option(
    "model.name", "-m", "--model", help="Catalog name, Hugging Face id or folder (local, s3://, gs://, az://)."
)
family_option = key_option("model.family", "--family", help="Family of a model that is not in the catalog.")
base_url_option = key_option(
    "model.base_url", "--base-url", metavar="URL", help="Endpoint of a model behind an API (--model openai:ID)."
)
model_options = group(model_option, family_option, base_url_option)


def dataset_options(prefix: str, prompt_column: str = "Column that holds the prompts; prompt by default.") -> Decorator:
    """`--name`, `--split` and `--prompt-column`. `prefix` is the data set's place in the config."""
    several = "of a hub set or folder; needed if there are several."
    return group(
        key_option(f"{prefix}config", "--name", help=f"Config (subset) {several}"),
        key_option(f"{prefix}split", "--split", help=f"Split {several}"),
        key_option(f"{prefix}prompt_column", "--prompt-column", help=prompt_column),
    )


def sampling_options(
    *,
    temperature: str = "Sampling temperature; 0 is greedy decoding.",
    max_tokens: str = "Most tokens of a response, thought included.",
) -> Decorator:
    """The parameters are help texts that depend on the command's defaults."""
    return group(
        key_option("sampling.temperature", "--temperature", type=float, help=temperature),
        key_option("sampling.top_p", "--top-p", type=float, help="Nucleus sampling, in (0, 1]."),
        key_option("sampling.top_k", "--top-k", type=int, help="Tokens to sample from; -1 (default) for all."),
        key_option("sampling.max_tokens", "--max-tokens", type=int, help=max_tokens),
        key_option("sampling.seed", "--seed", type=int, help="Seed of the run."),
    )


judge_option = key_option("judges", "-j", "--judge", multiple=True, help="Judge by catalog name. Repeatable.")
STRATEGY_NAMES = ", ".join(STRATEGIES)
parts_option = key_option(
    "parts", "--part", multiple=True, help="What is judged: response (default), thought, answer. Repeatable."
)


def device_option(engine: str = "model") -> Decorator:
    help = f"auto (default), cuda, or cpu, which runs any {engine} on CPUs."
    return key_option("resources.device", "--device", help=help)


gpu_memory_option = key_option(
    "resources.gpu_memory",
    "--gpu-memory",
    type=int,
    metavar="GB",
    help="Memory of each GPU; read from the GPUs by default.",
)
gpu_options = group(
    gpu_memory_option,
    key_option(
        "resources.accelerator",
        "--accelerator",
        metavar="KIND",
        help="Only GPUs of this kind, as Ray names it: L4, L40S, H100.",
    ),
)
batch_invariant_option = key_option(
    "resources.batch_invariant",
    "--batch-invariant/--no-batch-invariant",
    default=None,
    help="Make each text independent of the other requests of its batch, on GPUs; slower (docs/gpu.md).",
)
max_requests_option = key_option(
    "resources.max_requests", "--max-requests", type=int, help="API: most requests that this attempt may send."
)
cluster_options = group(
    key_option(
        "resources.ray_address",
        "--ray-address",
        help="Ray cluster to join; by default RAY_ADDRESS, else a new local Ray.",
    ),
    key_option(
        "resources.stall_timeout_minutes",
        "--stall-timeout",
        type=float,
        metavar="MINUTES",
        help="End with an error after this time without progress; 30 by default.",
    ),
)
resource_options = group(
    device_option(),
    gpu_options,
    batch_invariant_option,
    key_option(
        "resources.replicas",
        "--replicas",
        type=int,
        help="Engine replicas of the model; by default as many as fit, at most one for each 256 rows.",
    ),
    key_option(
        "resources.max_cost",
        "--max-cost",
        type=float,
        metavar="DOLLARS",
        help="API: most dollars that this attempt may spend.",
    ),
    max_requests_option,
    cluster_options,
)
judge_resource_options = group(
    device_option("judge"),
    key_option(
        "resources.judge_replicas",
        "--replicas",
        type=int,
        help="Engine replicas of each judge; by default as many as fit, at most one for each 256 rows.",
    ),
    cluster_options,
)


def folder_option(whose: str) -> Decorator:
    return key_option("output", "-o", "--output", help=f"The {whose}'s folder: a local path or URI.")


report_to_option = key_option(
    "report_to",
    "--report-to",
    multiple=True,
    metavar="TRACKER",
    help="Send progress and figures to wandb, mlflow or tensorboard. Repeatable.",
)


def html_option(help: str = "Write report.html at the end (the default), or leave it out.") -> Decorator:
    return click.option("--html/--no-html", default=True, help=help)


by_category_option = click.option("--by-category", is_flag=True, help="Add a table by category.")

format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(OUTPUT_FORMATS),
    default="table",
    show_default=True,
    help="Format of the tables.",
)

paper_options = group(
    click.option(
        "--paper",
        is_flag=False,
        flag_value="",
        metavar="[MODEL]",
        help="Add the paper's figures of the same model, or of MODEL. Put it after any RUN.",
    ),
    click.option(
        "--paper-dataset",
        multiple=True,
        metavar="NAME=PUBLISHED",
        help="Published data set to compare the run's data set NAME with: strongreject or wildjailbreak. Repeatable.",
    ),
)


def parse_stand_ins(paper: str | None, paper_dataset: tuple[str, ...]) -> StandIns | None:
    """The values of `paper_options`; None without them. Raises InputError for an unpublished model or data set."""
    if paper is None and not paper_dataset:
        return None
    datasets: dict[str, Any] = {}
    for assignment in paper_dataset:
        name, _, published = assignment.partition("=")
        if not name or not published:
            raise InputError(
                f"--paper-dataset {assignment}: a name is missing. Fix: write NAME=PUBLISHED, for example "
                "quickstart=strongreject."
            )
        datasets[name] = published
    found = StandIns(model=paper or None, datasets=datasets)
    found.check(published_figures())
    return found


def show(document: Document, output_format: str) -> None:
    """Print the document on stdout; Markdown and LaTeX are not wrapped, so that they can be piped to a file."""
    from safechain_ray.report.renderers import latex, markdown, print_document

    match output_format:
        case "markdown":
            click.echo(markdown(document), nl=False)
        case "latex":
            click.echo(latex(document), nl=False)
        case _:
            print_document(document, Console())
