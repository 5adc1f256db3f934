"""The doctor on a model behind an API: the key, the provider's list of models, the prices."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from safechain_ray.catalog import api_models
from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.commands.doctor import Finding
from safechain_ray.commands.doctor.access import check_api
from safechain_ray.commands.doctor.examine import examine
from safechain_ray.config import ModelConfig
from safechain_ray.errors import InputError

SECRET = "sk-the-secret-of-the-test"
KEY_ENV = "DOCTOR_TEST_KEY"


class Provider:
    """Lists its models to whoever has the key; `status`, `body` and `moved` stand for other answers."""

    def __init__(self) -> None:
        self.status = 200
        self.body = json.dumps({"data": [{"id": "models/a-model"}, {"id": "b-model"}]})
        self.url = ""
        self.moved: str | None = None
        self.asked = 0


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/v1/models" and self.headers["Authorization"] == f"Bearer {SECRET}"
            body = provider.body.encode()
            provider.asked += 1
            self.send_response(provider.status if known else 401)
            if provider.moved is not None:
                self.send_header("Location", provider.moved)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    provider.url = f"http://127.0.0.1:{server.server_port}/v1"
    monkeypatch.setenv(KEY_ENV, SECRET)
    yield provider
    server.shutdown()


def findings(provider: Provider, model: str = "a-model") -> dict[str, Finding]:
    entry = ApiEntry(name="m", base_url=provider.url, api_model=model, api_key_env=KEY_ENV, family="r1")
    return {finding.check: finding for finding in check_api(entry)}


def test_a_provider_that_lists_the_model_is_well_and_the_key_is_never_shown(provider: Provider):
    found = findings(provider)
    assert [finding.status for finding in found.values()] == ["ok", "ok", "warning", "ok"]
    assert found["endpoint"].detail == f"{provider.url} answers, and has a-model"
    assert "<think>" in found["thought"].detail
    assert SECRET not in repr(found)


def test_a_model_that_the_provider_does_not_list_fails_with_those_that_it_has(provider: Provider):
    found = findings(provider, "c-model")["endpoint"]
    assert (found.status, found.detail) == ("failed", "it has no model c-model; it has a-model, b-model")
    assert found.fix is not None
    assert "model.api_model" in found.fix


def test_a_key_that_is_refused_and_one_that_is_missing_fail(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEY_ENV, "another")
    found = findings(provider)
    assert (found["key"].status, found["endpoint"].status) == ("ok", "failed")
    assert "refuses the key: it answers 401" in found["endpoint"].detail
    monkeypatch.delenv(KEY_ENV)
    assert findings(provider)["key"].detail == f"{KEY_ENV} is not set"


@pytest.mark.parametrize(
    ("status", "body"), [(404, "not found"), (200, "<html>"), (200, "[]"), (200, '{"data": [{"name": "x"}]}')]
)
def test_a_provider_without_a_list_of_models_is_not_checked(provider: Provider, status: int, body: str):
    provider.status, provider.body = status, body
    found = findings(provider)["endpoint"]
    assert found.status == "not checked"
    assert f"answers {status} without a list of its models" in found.detail


def test_a_provider_out_of_reach_is_not_checked(provider: Provider):
    provider.url = "http://127.0.0.1:9/v1"
    found = findings(provider)["endpoint"]
    assert found.status == "not checked"
    assert "not reachable from here: ConnectError" in found.detail


def test_known_prices_are_told(provider: Provider):
    entry = api_models()["R1"].model_copy(update={"base_url": provider.url, "api_key_env": None})
    found = {finding.check: finding for finding in check_api(entry)}
    assert (found["prices"].status, found["key"].detail) == ("ok", "no key is sent")
    assert "$0.55 in and $2.19 out" in found["prices"].detail


def test_a_model_behind_an_api_has_no_weights_to_check(provider: Provider):
    model = ModelConfig(name="openai:a-model", base_url=provider.url)
    found = list(examine(model, (), weights=None, output=None, gpu_memory=None, max_tokens=100))
    assert {finding.subject for finding in found} == {"a-model"}
    with pytest.raises(InputError, match="--weights: openai:a-model runs behind an API"):
        examine(model, (), weights="/models/x", output=None, gpu_memory=None, max_tokens=100)


@pytest.mark.parametrize(
    "body", [{"data": [{"id": f"model of {SECRET}"}]}, {"data": [{"id": SECRET.upper()}]}, {"error": SECRET}]
)
@pytest.mark.parametrize("status", [200, 403, 404])
def test_a_key_that_a_list_of_models_quotes_is_not_shown(provider: Provider, body: dict[str, Any], status: int):
    provider.status, provider.body = status, json.dumps(body)
    found = findings(provider)
    assert provider.asked == 1
    assert SECRET.lower() not in repr(found).lower()


def test_a_redirect_is_not_followed_and_its_host_is_told(provider: Provider):
    provider.status, provider.moved = 307, f"{provider.url}/elsewhere?token=of-others"
    found = findings(provider)["endpoint"]
    assert provider.asked == 1
    assert found.status == "failed"
    assert f"the endpoint redirects to {provider.url.removesuffix('/v1')}" in found.detail
    assert "of-others" not in repr(found)


def test_a_list_of_models_is_read_up_to_16_mib_and_100000_models(provider: Provider):
    provider.body = json.dumps({"data": [{"id": "x"}] * 300_000})
    assert "it has x, x, x, x, x and 99995 more" in findings(provider)["endpoint"].detail
    provider.body = " " * (2**24 + 1)
    found = findings(provider)["endpoint"]
    assert found.status == "not checked"
    assert "the answer is longer than 16.0 MiB" in found.detail
