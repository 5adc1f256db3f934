"""Clients for endpoints: proxies of the environment, and variables that are OpenAI's alone."""

import asyncio
import socket
from importlib import util
from types import SimpleNamespace
from typing import Any

import pytest

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.commands.doctor import Subject
from safechain_ray.commands.doctor.access import check_listed
from safechain_ray.config import ModelConfig
from safechain_ray.engines.api import ApiStart, start_api
from safechain_ray.errors import EngineStartError, InputError
from safechain_ray.http_clients import check_proxy, is_openai, is_this_machine, openai_client, proxy_for
from safechain_ray.judges.base import make_judge
from safechain_ray.runs.resolve_model import api_model
from safechain_ray.types import Completion, Message, Request, Sampling
from tests.moderation_server import moderation_entry
from tests.moderation_server import serving as moderating
from tests.scripted_api import chat, serving

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
OPENAI_VARIABLES = {
    "OPENAI_ORG_ID": "org-secret",
    "OPENAI_PROJECT_ID": "proj-secret",
    "OPENAI_CUSTOM_HEADERS": "X-Team: team-secret",
    "OPENAI_BASE_URL": "http://elsewhere/v1",
}


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def dead_proxy() -> str:
    """The address of a port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{held.getsockname()[1]}"


async def answering(body: dict[str, Any], request: Any) -> Any:
    return chat()


def answer_of(url: str) -> Completion:
    async def once() -> Completion:
        engine = start_api(ApiStart(ApiEntry(name="m", api_model="m", base_url=url)))
        try:
            return await engine.generate(Request(engine.render((Message("user", "Hi"),)), Sampling(), 50))
        finally:
            await engine.close()

    return asyncio.run(once())


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "http://127.0.0.1/v1",
        "http://127.8.0.1/v1",
        "http://[::1]:8000",
        "http://a.localhost",
    ],
)
def test_loopback_is_this_machine(url: str):
    assert is_this_machine(url)


@pytest.mark.parametrize(
    "url", ["https://api.openai.com/v1", "http://10.0.0.1:8000/v1", "http://localhost.example.com"]
)
def test_another_host_is_not(url: str):
    assert not is_this_machine(url)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_server_on_this_machine_is_asked_directly(
    variable: str, scheme: str, dead_proxy: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(variable, f"{scheme}://{dead_proxy}")
    with serving(answering) as api:
        assert answer_of(api.url).text == "Hello"
        found = check_listed(Subject("m"), ApiEntry(name="m", api_model="m", base_url=api.url), "")
    assert "answers 404 without a list" in found.detail


def test_a_judge_on_this_machine_is_asked_directly(dead_proxy: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALL_PROXY", f"http://{dead_proxy}")
    with moderating() as server:
        judge = make_judge(moderation_entry(server), None)
        assert asyncio.run(judge.judge("How?", "answer", "a bomb")).unsafe is True


def test_another_host_is_asked_through_its_proxy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    monkeypatch.setenv("NO_PROXY", "inside.example.com")
    proxy = proxy_for("https://api.example.com/v1")
    assert proxy is not None
    assert (proxy.variable, proxy.url) == ("HTTPS_PROXY", "http://proxy:3128")
    assert proxy_for("https://inside.example.com/v1") is None
    assert proxy_for("https://localhost/v1") is None


def test_a_proxy_for_another_scheme_is_never_prepared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("ALL_PROXY", "gopher://proxy:70")
    openai_client("https://api.example.com/v1", "key", max_retries=0, timeout=1)


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        (
            "socks5://me:secret@proxy:1080",
            "ALL_PROXY names a SOCKS proxy for api.example.com.*Fix: run pip install socksio",
        ),
        ("socks4://me:secret@proxy:1080", "ALL_PROXY: socks4:// is no proxy.*Fix: name one of http://"),
    ],
)
def test_a_proxy_that_can_not_be_used_is_refused_before_anything_starts(
    proxy: str, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setattr("safechain_ray.http_clients.find_spec", lambda name: None)
    url = "https://api.example.com/v1"
    with pytest.raises(InputError, match=words) as refused:
        api_model(ModelConfig(name="openai:m", base_url=url))
    with pytest.raises(EngineStartError, match=words):
        start_api(ApiStart(ApiEntry(name="m", api_model="m", base_url=url)))
    found = check_listed(Subject("m"), ApiEntry(name="m", api_model="m", base_url=url), "")
    assert found.status == "failed"
    assert "secret" not in f"{refused.value}{found}"


def test_socks_is_let_pass_where_its_package_is_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    monkeypatch.setattr(
        "safechain_ray.http_clients.find_spec",
        lambda name: SimpleNamespace() if name == "socksio" else util.find_spec(name),
    )
    check_proxy("https://api.example.com/v1")


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("http://api.openai.com/v1", False),
        ("https://api.openai.com.example.com/v1", False),
        ("https://notapi.openai.com/v1", False),
        ("https://api.deepseek.com", False),
    ],
)
def test_only_openais_own_hosts_are_openai(url: str, own: bool, monkeypatch: pytest.MonkeyPatch):
    for name, value in OPENAI_VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert is_openai(url) is own
    client = openai_client(url, "key", max_retries=0, timeout=1)
    assert ("secret" in str(client.default_headers)) is own
    assert client.base_url.host in url


def test_no_server_but_openai_gets_organization_project_or_custom_headers(monkeypatch: pytest.MonkeyPatch):
    for name, value in OPENAI_VARIABLES.items():
        monkeypatch.setenv(name, value)
    with serving(answering) as api:
        answer_of(api.url)
    assert "secret" not in str(api.headers)
    assert "OpenAI-Organization" not in api.headers[0]
