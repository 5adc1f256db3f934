"""Checks of access to a model: its files on the hub or in an object store, or its API.

Files: access, size on the disk, tokenizer and config. API: key, the answer of the provider, its list of models, prices.
"""

import asyncio
import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Any, Literal

from openai import APIConnectionError, APIStatusError, OpenAIError

from safechain_ray import catalog
from safechain_ray.catalog.entries import ApiEntry, EngineNeeds
from safechain_ray.catalog.judge_entries import JudgeEntry, judging_api
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.engines.api_wire import decode_json
from safechain_ray.engines.weights import COPIES, StoredModel, copies_folder, weights_location
from safechain_ray.errors import InputError, first_line
from safechain_ray.http_clients import openai_client
from safechain_ray.http_clients.provider_client import RedirectedError
from safechain_ray.model_files import CustomCodeError, load_config, load_tokenizer
from safechain_ray.storage import redact

HUB_TIMEOUT_SECONDS = 5.0

WEIGHT_FILES = (".safetensors", ".bin")

GB = 1e9

OWN_CODE = "take a copy of the model in a format that transformers loads itself"


def offline_fix(subject: Subject, is_offline: bool) -> str:
    """How the files of a model or a judge get here without the hub. `is_offline` says that HF_HUB_OFFLINE is set."""
    copy = "download the model elsewhere and give its folder as the model, or with --weights"
    if subject.key != "model":  # --weights has the folder of the model
        copy = "fill the hub's cache on another machine (deploy/warm_weights.py) and set HF_HOME"
    return f"unset HF_HUB_OFFLINE, or {copy}" if is_offline else copy


@dataclass(frozen=True, slots=True)
class HubAnswer:
    """The hub's answer about a repository. `reachable` is False if there was none."""

    finding: Finding
    reachable: bool
    weight_bytes: int | None = None

    @property
    def granted(self) -> bool:
        return self.finding.status == "ok"


def is_local(source: str) -> bool:
    return Path(weights_location(source)).is_dir()


def check_token(subject: Subject, source: str, revision: str | None, *, gated: bool, access: str | None) -> Finding:
    """Whether there is a token for a gated model. The token itself is never shown."""
    from huggingface_hub import get_token, try_to_load_from_cache

    if is_local(source) or not gated:
        return subject.ok("token", "not needed: " + ("the files are here" if is_local(source) else "open to all"))
    if get_token() is None and isinstance(try_to_load_from_cache(source, "config.json", revision=revision), str):
        return subject.ok("token", "no token is set, but the files are in the cache")
    if get_token() is None:
        steps = access or "set HF_TOKEN"
        fix = steps if "HF_TOKEN" in steps else f"{steps.rstrip('. ')}, then set HF_TOKEN"
        return subject.failed("token", f"{source} is gated, and no token of the Hugging Face hub is set", fix)
    return subject.ok("token", "set in HF_TOKEN" if os.environ.get("HF_TOKEN") else "stored by `hf auth login`")


def ask_hub(subject: Subject, source: str, revision: str | None) -> HubAnswer:
    """Request the list of the model's files, and access to one of them, for a few seconds at most. Never raises."""
    from huggingface_hub import HfApi, get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(source, revision=revision, timeout=HUB_TIMEOUT_SECONDS, files_metadata=True)
        # A gated model's description is open to all, its files are not.
        url = hf_hub_url(source, "config.json", revision=revision)
        get_hf_file_metadata(url, token=get_token(), timeout=HUB_TIMEOUT_SECONDS)
    except GatedRepoError:
        return HubAnswer(
            subject.failed(
                "access",
                f"the hub refuses {source}: it is gated, and access is not granted",
                "accept the licence on the model's page with the account of HF_TOKEN, and wait for its approval",
            ),
            reachable=True,
        )
    except RevisionNotFoundError:
        fix = "set the engine's revision to one that is there (main is the newest)"
        return HubAnswer(subject.failed("access", f"{source} has no revision {revision}", fix), reachable=True)
    except RepositoryNotFoundError:
        fix = "check the id; if the model is private, set HF_TOKEN"
        return HubAnswer(subject.failed("access", f"the hub knows no {source}", fix), reachable=True)
    except OfflineModeIsEnabled:
        return HubAnswer(
            subject.not_checked("access", "HF_HUB_OFFLINE is set", offline_fix(subject, True)), reachable=False
        )
    except HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            fix = "check that HF_TOKEN is valid and may read this model"
            return HubAnswer(subject.failed("access", f"no access: the hub answers {code}", fix), reachable=True)
        return HubAnswer(subject.not_checked("access", f"the hub answers {code}", "try again later"), reachable=False)
    except Exception as error:  # the hub's client raises those of its HTTP library, which changes between versions
        reason = f"not reachable: {type(error).__name__}"
        return HubAnswer(
            subject.not_checked(
                "access", reason, f"check network, proxy and HF_ENDPOINT, or {offline_fix(subject, False)}"
            ),
            reachable=False,
        )
    weights = [file.size or 0 for file in info.siblings or () if file.rfilename.endswith(WEIGHT_FILES)]
    return HubAnswer(subject.ok("access", "the hub gives the files"), reachable=True, weight_bytes=sum(weights) or None)


def load(
    subject: Subject, check: Literal["tokenizer", "config"], source: str, revision: str | None, *, from_hub: bool
) -> tuple[Finding, Any | None]:
    """Tokenizer or config from the model's folder, the cache, or (`from_hub`) the hub; None where it does not load."""
    from huggingface_hub import constants

    where = "from its folder" if is_local(source) else "from the hub" if from_hub else "from the cache"
    loader = {"tokenizer": load_tokenizer, "config": load_config}[check]
    try:
        loaded = loader(weights_location(source), revision, only_local=not from_hub)
    except CustomCodeError:
        return subject.failed(check, "needs Python code from the model's folder, which is not run", OWN_CODE), None
    except Exception as error:  # foreign files: any error of theirs is a finding
        if not is_local(source) and not from_hub:
            fix = offline_fix(subject, constants.HF_HUB_OFFLINE)
            return subject.not_checked(check, "not in the cache, and the hub gives none", fix), None
        return subject.failed(
            check, f"does not load {where}: {first_line(error)}", "fetch the model's files again"
        ), None
    return subject.ok(check, f"loads {where}"), loaded


def check_disk(subject: Subject, needs: EngineNeeds, hub_bytes: int | None) -> Finding:
    """Free space for the weights in the hub's cache. Files of an earlier download count as downloaded."""
    from huggingface_hub import constants

    location = weights_location(needs.source)
    if is_local(needs.source):
        here = sum(file.stat().st_size for file in Path(location).iterdir() if file.suffix in WEIGHT_FILES)
        if here == 0:
            return subject.failed(
                "weights", f"no {' or '.join(WEIGHT_FILES)} in {location}", "fetch the model's files again"
            )
        return subject.ok("weights", f"{here / GB:.3g} GB in their folder")
    cache = Path(constants.HF_HUB_CACHE)
    total = (hub_bytes or needs.weight_gigabytes * GB) / GB
    blobs = cache / f"models--{needs.source.replace('/', '--')}" / "blobs"
    cached = sum(file.stat().st_size for file in blobs.iterdir()) / GB if blobs.is_dir() else 0.0
    missing = max(0.0, total - cached)
    free = disk_usage(existing(cache)).free / GB
    detail = f"{total:.0f} GB, {missing:.0f} GB of them to download; {free:.0f} GB free at {cache}"
    if missing > free and os.environ.get("RAY_ADDRESS"):
        return subject.warning("weights", detail, "check that the nodes of the cluster have more: the weights go there")
    if missing > free:
        return subject.failed("weights", detail, "free some disk, or point HF_HOME to a larger one")
    return subject.ok("weights", detail)


def existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def stored_findings(subject: Subject, uri: str) -> Generator[Finding, None, tuple[Any | None, Any | None]]:
    """Tokenizer and config, each None if it does not load. Raises the errors of `StoredModel.at`."""
    stored = StoredModel.at(uri)
    yield subject.ok("access", f"{redact(uri)} lists its files; a cluster needs the rights on its own nodes")
    with stored.without_weights() as folder:
        found, tokenizer = load(subject, "tokenizer", str(folder), None, from_hub=False)
        yield found
        found, config = load(subject, "config", str(folder), None, from_hub=False)
        yield found
    yield check_room_for_copy(subject, stored)
    return tokenizer, config


def check_room_for_copy(subject: Subject, stored: StoredModel) -> Finding:
    """Free space for this node's copy of the model, unless it has one."""
    copies = copies_folder()
    size = f"{stored.weight_bytes / GB:.3g} GB"
    if (copies / stored.copy_name).is_dir():
        return subject.ok("weights", f"{size}, fetched already")
    free = disk_usage(existing(copies)).free
    detail = f"{size} to fetch, once a node; {free / GB:.0f} GB free at {copies}"
    if stored.size <= free:
        return subject.ok("weights", detail)
    if os.environ.get("RAY_ADDRESS"):
        return subject.warning("weights", detail, "check that the nodes of the cluster have more: the weights go there")
    return subject.failed("weights", detail, f"free some disk, or point {COPIES} to a larger one")


RPC_TIMEOUT = 10.0

SHOWN_MODELS = 5

LONGEST_ID = 200

MOST_MODELS = 100_000


def check_api(model: ApiEntry) -> Iterator[Finding]:
    """Request the provider's list of models, which is free of charge. No prompt is sent."""
    subject = Subject(model.name)
    key = os.environ.get(model.api_key_env, "") if model.api_key_env else ""
    yield _check_key(subject, model, key)
    yield check_listed(subject, model, key)
    yield _check_prices(subject, model)
    tags = catalog.family_of(model).tags
    if tags is None:
        yield subject.ok("thought", "its thought is not a separate part: judge the response")
    else:
        yield subject.ok("thought", f"reasoning in a separate field is put between {tags.open} and {tags.close}")


def check_judge_endpoint(subject: Subject, judge: JudgeEntry) -> Finding:
    """Whether the server of a judge answers, and lists the judge's model. No text is sent."""
    model = judging_api(judge).model_copy(update={"judge_key": subject.key})
    return check_listed(subject, model, os.environ.get(model.api_key_env or "", "").strip())


def check_listed(subject: Subject, model: ApiEntry, key: str) -> Finding:
    """Whether the endpoint answers with this key, and lists the model. Never raises."""
    another = model.option("base_url=URL")
    check_network = f"check network and proxy, start the server, or name another one with {another}"
    try:
        status, body = asyncio.run(_models(model, key))
    except InputError as error:
        problem, _, fix = str(error).partition(" Fix: ")
        return subject.failed("endpoint", problem.rstrip("."), fix.rstrip("."))
    except RedirectedError as error:
        fix = f"if you trust the address that it redirects to, name it with {another}"
        return subject.failed("endpoint", str(error), fix)
    except APIConnectionError as error:
        reason = f"{model.base_url} is not reachable from here: {type(error.__cause__ or error).__name__}"
        return subject.not_checked("endpoint", reason, check_network)
    except OpenAIError as error:
        reason = f"{model.base_url} gives no list of its models: {error}"
        return subject.not_checked("endpoint", reason, check_network)
    if status in (401, 403):
        fix = f"name the variable of its key with {model.option('api_key_env=NAME')}"
        if model.api_key_env:
            fix = f"check the key in {model.api_key_env}"
        return subject.failed("endpoint", f"{model.base_url} refuses the key: it answers {status}", fix)
    ids = _listed(body)
    if ids is None:
        reason = f"{model.base_url} answers {status} without a list of its models"
        return subject.not_checked("endpoint", reason, "try one sample: evaluate --limit 1 --max-requests 1")
    if model.api_model not in ids:
        some = ", ".join(ids[:SHOWN_MODELS]) + (
            f" and {len(ids) - SHOWN_MODELS} more" if len(ids) > SHOWN_MODELS else ""
        )
        fix = f"name the provider's id with {model.option('model=ID')}"
        return subject.failed("endpoint", f"it has no model {model.api_model}; it has {some or 'none'}", fix)
    return subject.ok("endpoint", f"{model.base_url} answers, and has {model.api_model}")


def _check_key(subject: Subject, model: ApiEntry, key: str) -> Finding:
    if model.api_key_env is None:
        return subject.ok("key", "no key is sent")
    if key:
        return subject.ok("key", f"{model.api_key_env} is set here; a cluster needs it on its own nodes")
    return subject.failed("key", f"{model.api_key_env} is not set", f"put the provider's key into {model.api_key_env}")


def _check_prices(subject: Subject, model: ApiEntry) -> Finding:
    if model.prices is None:
        fix = "set model.api.prices={input: …, output: …}, or bound the run with --max-requests"
        return subject.warning("prices", "unknown: no bill can be estimated or bounded by --max-cost", fix)
    return subject.ok(
        "prices", f"${model.prices.input:g} in and ${model.prices.output:g} out a million tokens; they change"
    )


async def _models(model: ApiEntry, key: str) -> tuple[int, bytes]:
    """Status and body of the list of models. Raises OpenAIError without a usable answer."""
    async with openai_client(model.base_url, key or None, max_retries=0, timeout=RPC_TIMEOUT) as client:
        try:
            return 200, (await client.models.with_raw_response.list()).content
        except APIStatusError as error:
            return error.status_code, error.response.content


def _listed(body: bytes) -> list[str] | None:
    """The ids in a list of models; Gemini's have the prefix `models/`."""
    try:
        models: list[Mapping[str, Any]] = decode_json(body)["data"]
        return [str(model["id"]).removeprefix("models/")[:LONGEST_ID] for model in models[:MOST_MODELS]]
    except (ValueError, KeyError, TypeError):
        return None
