"""`safechain-ray config`: configs of the package, a run's whole config, the JSON schema of each kind of file."""

import json
from pathlib import Path
from typing import Any

import click
import yaml
from rich import box
from rich.console import Console
from rich.table import Column, Table

from safechain_ray.cli.common import output_options
from safechain_ray.cli.evaluate import read_run_config, run_examples, run_options
from safechain_ray.config import CONFIG_KINDS, PROFILES, about, bundled_configs, config_kind, json_schema
from safechain_ray.report.document import escape
from safechain_ray.storage import without_secrets
from safechain_ray.types.yaml_text import dump_yaml


@click.group()
def config() -> None:
    """List configs, show a run's, print schemas."""


LIST_EXAMPLES = """\b
Examples:
  safechain-ray config list
  safechain-ray evaluate --config quickstart --output runs/mine"""


@config.command("list", epilog=LIST_EXAMPLES)
@output_options
def list_configs(*, as_json: bool) -> None:
    """List the configs that ship with the package. `--config NAME` finds them from any folder.

    A file NAME or NAME.yaml in your folder wins. A path that begins with ./, ../, / or ~ is never such a name. `--json`
    shows where each file is, so that you can copy and change it.
    """
    rows = [_bundled(name, file) for name, file in bundled_configs().items()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    names = (Column(heading, no_wrap=True) for heading in ("name", "command"))
    table = Table(*names, "about", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        profiles = f"\nprofiles: {', '.join(row['profiles'])}" if row["profiles"] else ""
        table.add_row(row["name"], row["command"], escape(row["about"]) + profiles)
    Console().print(table)


def _bundled(name: str, file: Path) -> dict[str, Any]:
    kind, tree = config_kind(file), yaml.safe_load(file.read_text(encoding="utf-8"))
    command = "" if kind is None else CONFIG_KINDS[kind].command
    profiles = list(tree.get(PROFILES, ()))
    return {"name": name, "command": command, "profiles": profiles, "about": about(file), "file": str(file)}


@config.command(epilog="\b\nExample:\n  safechain-ray config schema > run.schema.json")
@click.argument("kind", type=click.Choice(list(CONFIG_KINDS)), default="run")
def schema(*, kind: str) -> None:
    """Print the JSON schema of a kind of config file, for editors."""
    click.echo(json.dumps(json_schema(kind), indent=2))


@config.command(epilog=run_examples("config show"))
@run_options
@output_options
def show(*, as_json: bool, **flags: Any) -> None:
    """Print the whole config that these flags make, with defaults.

    Secrets in URIs are shown as ***. Unknown judges and strategies are refused, and so are data sets that are no
    catalog name, file, URI or hub id. The model is not checked.
    """
    from safechain_ray.decoding.base import strategy
    from safechain_ray.runs.resolve import dataset_entry, judge_entry

    resolved = read_run_config(**flags)
    names = {dataset.name: dataset_entry(dataset).name for dataset in resolved.datasets}
    for setting in resolved.expand_settings(names):
        strategy(setting.strategy)
    for judge in resolved.judges:
        judge_entry(judge)
    tree = without_secrets(resolved.model_dump(mode="json"))
    click.echo(json.dumps(tree, indent=2) if as_json else dump_yaml(tree).rstrip())
