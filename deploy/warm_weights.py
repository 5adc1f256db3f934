"""Fetch from the hub, once, the files of every model and judge that a config names; for a bucket or a shared volume.

    python deploy/warm_weights.py --config configs/paper/main_table.yaml --to weights
    aws s3 sync weights s3://my-bucket/weights --exclude '*/blobs/*'

`--to` is laid out as HF_HOME: nodes that see it as HF_HOME, with HF_HUB_OFFLINE=1, load from it and ask no hub. Without
the blobs, to which the snapshots link, a bucket holds each file once. Gated models want HF_TOKEN. The same command
again fetches what is missing.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from safechain_ray.catalog.entries import EngineNeeds, ModelEntry
from safechain_ray.config import RunConfig, SweepConfig, config_kind, read_config, read_config_as
from safechain_ray.engines.weights import is_hub_id
from safechain_ray.errors import SafechainError
from safechain_ray.runs.resolve import resolve_judge
from safechain_ray.runs.resolve_model import is_api, resolve_model

OTHER_FORMATS = ("original/*", "*.pth", "*.gguf", "*.onnx", "*.h5", "*.msgpack")
"""The same weights again, in formats that vLLM does not load."""


@click.command()
@click.option("-c", "--config", type=click.Path(path_type=Path), required=True, help="Config of a run or a sweep.")
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="Folder laid out as HF_HOME.")
@click.option("--dry-run", is_flag=True, help="List the models without fetching them.")
def warm_weights(config: Path, target: Path, dry_run: bool) -> None:
    """Fetch the files of every model and judge of a config into a folder that nodes use as HF_HOME."""
    from huggingface_hub import snapshot_download

    try:
        wanted = {(engine.source, engine.revision): engine for engine in engines(config)}
    except SafechainError as error:
        raise click.ClickException(str(error)) from error
    for (source, revision), engine in wanted.items():
        click.echo(f"{source} at {revision or 'main'}: about {engine.weight_gigabytes:.0f} GB")
        if not dry_run:
            snapshot_download(source, revision=revision, cache_dir=target / "hub", ignore_patterns=list(OTHER_FORMATS))
    total = sum(engine.weight_gigabytes for engine in wanted.values())
    click.echo(f"{len(wanted)} models, about {total:,.0f} GB of weights.")


def engines(config: Path) -> Iterator[EngineNeeds]:
    """The engines of all runs whose weights come from the hub. Raises InputError for a config that can't be read."""
    runs: tuple[RunConfig, ...]
    if config_kind(config) == "sweep":
        runs = read_config_as(SweepConfig, config, {}).runs()
    else:
        runs = (read_config(config, {}, ()),)
    for run in runs:
        judges = [resolve_judge(judge).engine for judge in run.judges]
        yield from (engine for engine in [*models(run), *judges] if engine and is_hub_id(engine.source))


def models(run: RunConfig) -> list[ModelEntry]:
    return [] if is_api(run.model) else [resolve_model(run.model)]


if __name__ == "__main__":
    warm_weights()
