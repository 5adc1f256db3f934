"""Keys and passwords that a server quotes, in any way, are in no sample, verdict, run folder, page or log."""

import asyncio
import base64
import json
import logging
import re
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from aiohttp import web

from safechain_ray.catalog import families, judges
from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.catalog.judge_entries import judging_api
from safechain_ray.cluster.progress import ProgressTracker
from safechain_ray.cluster.sample_index import SampleIndex
from safechain_ray.cluster.workers import generator
from safechain_ray.cluster.workers.generator import GeneratorWorker, decodings_of
from safechain_ray.cluster.workers.judge import EndpointJudge
from safechain_ray.cluster.workers.pair_judge import PairJudgeWorker
from safechain_ray.engines import api as api_engine
from safechain_ray.engines.api import ApiStart, start_api
from safechain_ray.errors import EngineStartError
from safechain_ray.judges import openai_moderation
from safechain_ray.report.html.run import run_page
from safechain_ray.report.html.sample_sources import pack_samples
from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import open_folder
from safechain_ray.types import Prompt, Sampling, Setting, samples_from_table
from safechain_ray.types.tables import PAIRS_SCHEMA
from tests.made_runs.by_samples import write_run
from tests.moderation_server import Answer, moderation_entry
from tests.moderation_server import serving as moderating
from tests.scripted_api import chat, failure, serving
from tests.unit.cluster.local_actors import LocalActor, LocalTracker

KEY = "sk-Canary+4711/Zzyzx-Ümlaut".replace("Ü", "U")
SETTING = Setting(dataset="d", sampling=Sampling(temperature=0, max_tokens=50))

Quotes = Callable[[str], web.Response]


def escaped(secret: str, form: str) -> str:
    return "".join(form.format(ord(character)) for character in secret)


def raw(text: str, status: int = 200, encoding: str = "utf-8") -> web.Response:
    return web.Response(body=text.encode(encoding), status=status, content_type="application/json")


def with_content(text: str, **more: Any) -> str:
    return json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": "X"}}], **more}).replace("X", text)


def parts(secret: str, kind: str = "text", **message: Any) -> Any:
    return [{"type": kind, kind: piece} for piece in (f"It is {secret[:7]}", secret[7:15], secret[15:])]


WAYS: dict[str, Quotes] = {
    "content": lambda key: chat(f"Your key is {key}."),
    "reasoning": lambda key: chat("Hm.", reasoning_content=f"The key: {key}"),
    "details of the reasoning": lambda key: chat("Hm.", reasoning_details=parts(key)),
    "split over parts of the content": lambda key: chat(parts(key)),
    "split over thought and answer": lambda key: chat(key[9:], reasoning_content=f"Key {key[:9]}"),
    "refusal": lambda key: chat(None, refusal=f"Not with {key}"),
    "finish reason": lambda key: chat("Hm.", finish_reason=key),
    "id and model": lambda key: raw(with_content("Hm.", id=key, model=f"model of {key}")),
    "usage": lambda key: chat("Hm.", usage={"prompt_tokens": key, "completion_tokens": 1, key: 1}),
    "tool call": lambda key: chat(None, "tool_calls", tool_calls=[{"function": {"name": key, "arguments": key}}]),
    "error in an answer": lambda key: raw(json.dumps({"error": {"message": f"bad key {key}", "code": 400}})),
    "error in a choice": lambda key: raw(
        json.dumps({"choices": [{"finish_reason": "error", "error": {"message": key, "code": 401}}]})
    ),
    "error with a status": lambda key: failure(422, f"Bearer {key} is wrong"),
    "text with a status": lambda key: raw(f"<p>Authorization: Bearer {key}</p>", 422),
    "detail": lambda key: raw(json.dumps({"detail": [{"loc": ["header", key], "msg": key}]}), 422),
    "JSON escapes": lambda key: raw(with_content(escaped(key, "\\u{:04x}"))),
    "JSON escapes in an error": lambda key: raw(
        json.dumps({"error": {"message": "K"}}).replace("K", escaped(key, "\\u{:04X}")), 422
    ),
    "JSON within JSON": lambda key: chat(json.dumps({"inner": "K"}).replace("K", escaped(key, "\\u{:04x}"))),
    "URL": lambda key: chat(f"https://h/?key={quote(key, safe='')}&more={escaped(key, '%{:02X}')}"),
    "HTML": lambda key: chat(escaped(key, "&#{};") + escaped(key, "&#x{:x};")),
    "base64": lambda key: chat(base64.b64encode(f"Bearer {key}".encode()).decode()),
    "base64 for URLs": lambda key: chat(base64.urlsafe_b64encode(f"xx{key}".encode()).decode()),
    "basic authorization": lambda key: chat(base64.b64encode(f"user:{key}".encode()).decode()),
    "hex": lambda key: chat(key.encode().hex()),
    "upper case": lambda key: chat(key.upper()),
    "blanks": lambda key: chat("\n".join(key)),
    "characters of no width": lambda key: chat("\u200b".join(key)),
    "UTF-16": lambda key: raw(with_content(key), encoding="utf-16"),
    "no JSON": lambda key: raw(f"{key} is no JSON"),
    "a header": lambda key: web.Response(status=307, headers={"Location": f"http://{quote(key)}@h/{key}"}),
    "a number of seconds": lambda key: failure(422, headers={"Retry-After": key, key.split("+")[0]: key}),
    "a reason": lambda key: web.Response(status=422, reason=f"Key {key}"),
}


def is_quoted(text: str, secret: str) -> bool:
    """Whether a text holds the secret, by other means than those of the package."""
    squeezed = re.sub(r"\s|\\+n|\0|\u200b|\\+u200b|\\+(?=u00)", "", text).lower()
    encoded = [base64.b64encode(b"0" * offset + secret.encode()).decode()[4:-4] for offset in range(3)]
    forms = [
        *(secret, secret.encode().hex(), quote(secret, safe=""), *encoded),
        *(form.replace("+", "-").replace("/", "_") for form in encoded),
        *(escaped(secret, form) for form in ("u{:04x}", "%{:02x}", "&#{};", "&#x{:x};")),
    ]
    return any(form.lower() in squeezed for form in (*forms, secret[:9], secret[9:18]))


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator.ray, "get", lambda reference: reference)
    monkeypatch.setattr(api_engine, "backoff", lambda attempt, rng: 0.001)
    monkeypatch.setattr(openai_moderation, "RETRIES", 0)
    monkeypatch.setenv("CANARY_KEY", KEY)
    for name in ("http_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """All that any logger says, however unimportant."""
    lines: list[str] = []

    class DecodeCheckpoint(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    root, handler = logging.getLogger(), DecodeCheckpoint()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(before)


def generated(url: str, **entry: Any) -> pa.Table | str:
    """One sample of a replica before `url`; the text and chain of the error that ends the run."""

    class Holder:
        fetch = staticmethod(lambda: SampleIndex((SETTING,), {"d": (Prompt("p0", "Hello", "greetings"),)}))

    needs = ApiEntry(name="m", api_model="m", base_url=url, **({"api_key_env": "CANARY_KEY"} | entry))
    start = ApiStart(needs)
    try:
        one = GeneratorWorker(
            "m",
            families()["r1"],
            LocalActor(Holder),
            decodings_of((SETTING,), families()["r1"], needs),
            start,
            start_api,
            2,
            LocalActor(ProgressTracker()),
            LocalTracker(),
        )
        return asyncio.run(one(pa.table({"number": [0]})))
    except EngineStartError as error:
        return "".join(traceback.format_exception(error))


def always(quotes: Quotes, secret: str = KEY) -> Any:
    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        return quotes(secret)

    return respond


def all_written(table: pa.Table, folder: Path) -> str:
    """The run's folder with these samples, and its page, as text."""
    metrics = write_run(folder, (SETTING,), samples_from_table(table))
    kept = RunFolder(open_folder(str(folder)))
    samples = pack_samples(kept, metrics)
    page = run_page(metrics, kept.read_run(), samples)
    unpacked = [zlib.decompress(base64.b64decode(data)).decode() for data in (samples.index, *samples.chunks)]
    files = [file.read_bytes().decode("latin-1") for file in folder.rglob("*") if file.is_file()]
    return "\n".join([json.dumps(table.to_pylist(), ensure_ascii=False), page, *unpacked, *files])


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"split over parts of the content", "details of the reasoning"}))
def test_the_servers_of_these_tests_quote_the_key(way: str):
    response = WAYS[way](KEY)
    body = response.body if isinstance(response.body, bytes) else b""
    assert is_quoted(f"{body.decode('latin-1')} {response.reason} {response.headers}", KEY)


@pytest.mark.parametrize("way", WAYS)
def test_a_models_key_is_in_no_sample_folder_page_or_log(way: str, tmp_path: Path, log: list[str]):
    with serving(always(WAYS[way])) as api:
        made = generated(api.url)
    assert api.headers[0]["Authorization"] == f"Bearer {KEY}"
    shown = made if isinstance(made, str) else all_written(made, tmp_path / "run")
    assert not is_quoted(shown, KEY)
    assert not is_quoted("\n".join(log), KEY)


@pytest.mark.parametrize("way", ["content", "error with a status", "a reason", "basic authorization", "URL"])
def test_a_proxys_password_is_in_no_sample_or_log(
    way: str, tmp_path: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
):
    with serving(always(WAYS[way])) as proxy:
        address = proxy.url.removeprefix("http://").removesuffix("/v1")
        monkeypatch.setenv("http_proxy", f"http://user:{quote(KEY, safe='')}@{address}")
        made = generated("http://provider.invalid/v1", api_key_env=None)
    assert len(proxy.bodies) == 1
    shown = made if isinstance(made, str) else all_written(made, tmp_path / "run")
    assert not is_quoted(shown + "\n".join(log), KEY)


@pytest.mark.parametrize("way", WAYS)
def test_a_preference_judges_key_is_in_no_preference_or_log(way: str, log: list[str], monkeypatch: pytest.MonkeyPatch):
    judge = judges()["prefer-gpt-4o"]
    assert judge.endpoint is not None
    row = dict.fromkeys(PAIRS_SCHEMA.names, "x") | {"sample_index": 0}
    with serving(always(WAYS[way])) as api:
        update = {"base_url": api.url, "api_key_env": "CANARY_KEY"}
        entry = judge.model_copy(update={"endpoint": judge.endpoint.model_copy(update=update)})
        start, told = ApiStart(judging_api(entry)), (LocalActor(ProgressTracker()), LocalTracker())
        worker = PairJudgeWorker(entry, ("answer", "answer"), start, start_api, 2, None, *told)
        try:
            shown = str(asyncio.run(worker(pa.Table.from_pylist([row], schema=PAIRS_SCHEMA))).to_pylist())
        except EngineStartError as error:
            shown = "".join(traceback.format_exception(error))
    assert not is_quoted(shown + "\n".join(log), KEY)


def moderations(secret: str) -> dict[str, Answer]:
    def flagged(category: str) -> bytes:
        result = {"flagged": True, "categories": {category: True}, "category_scores": {category: 0.5}}
        return json.dumps({"results": [result]}).encode()

    def error(message: str) -> bytes:
        return json.dumps({"error": {"message": message}}).encode()

    return {
        "category": Answer(body=flagged(f"violence {secret}")),
        "category in base64": Answer(body=flagged(base64.b64encode(f"Bearer {secret}".encode()).decode())),
        "category in escapes": Answer(body=flagged("K").replace(b"K", escaped(secret, "\\u{:04x}").encode())),
        "another form": Answer(body=json.dumps({"results": [{secret: secret, "flagged": secret}]}).encode()),
        "no JSON": Answer(body=secret.encode()),
        "error": Answer(400, error(f"key {secret}")),
        "error in escapes": Answer(400, error("K").replace(b"K", escaped(secret, "\\u{:04x}").encode())),
        "refused key": Answer(401, error(f"Incorrect API key: {secret}")),
        "redirect": Answer(308, headers={"Location": f"http://h/?key={quote(secret)}"}),
        "header": Answer(400, error("no"), {"x-request-id": secret, "x-should-retry": "false"}),
    }


@pytest.mark.parametrize("way", moderations(KEY))
def test_a_moderations_key_is_in_no_verdict_or_log(way: str, log: list[str]):
    sample = samples_from_table(_one_sample())[0]
    with moderating(answer=lambda text: moderations(KEY)[way]) as server:
        judge = EndpointJudge(
            moderation_entry(server, api_key_env="CANARY_KEY"), ("response",), None, LocalActor(ProgressTracker())
        )
        try:
            shown = str(asyncio.run(judge(_one_sample())).to_pylist())
        except EngineStartError as error:
            shown = "".join(traceback.format_exception(error))
    assert server.requests[0].key == KEY
    assert sample.response
    assert not is_quoted(shown + "\n".join(log), KEY)


def _one_sample() -> pa.Table:
    with serving(always(lambda key: chat("Hello"))) as api:
        made = generated(api.url)
    assert isinstance(made, pa.Table)
    return made
