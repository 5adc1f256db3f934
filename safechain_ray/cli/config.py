"""`safechain-ray config`: a run's whole config, and the JSON schema of each kind of config file."""

import json
from typing import Any

import click

from safechain_ray.cli.common import output_options
from safechain_ray.cli.evaluate import read_run_config, run_examples, run_options
from safechain_ray.config import CONFIG_KINDS, json_schema
from safechain_ray.storage import without_secrets
from safechain_ray.types.yaml_text import dump_yaml


@click.group()
def config() -> None:
    """Show the config of a run, or the schema of config files."""


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
