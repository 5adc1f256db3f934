"""The doctor on a model's files: the answers of the hub, tokens, disk, folders."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from safechain_ray.catalog import models
from safechain_ray.commands.doctor import Subject, access
from safechain_ray.commands.doctor.access import ask_hub, check_disk, check_token, load

SUBJECT = Subject("model")
REVISION = "a" * 40
SECRET = "hf_thesecretofthetest"


def point_to(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """What HF_ENDPOINT does at import, and no HF_HUB_OFFLINE."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A hub on this machine; called with the status, the error code and the delay of what it answers for files."""
    answer = {"status": 200, "code": "", "delay": 0.0}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            siblings = [{"rfilename": "model.safetensors", "size": 15_000_000_000}, {"rfilename": "a.md", "size": 9}]
            body = json.dumps({"id": "org/name", "siblings": siblings}).encode()
            self._answer(200 if answer["code"] in ("", "GatedRepo") else answer["status"], body)

        def do_HEAD(self) -> None:
            self._answer(answer["status"], b"")

        def _answer(self, status: int, body: bytes) -> None:
            time.sleep(float(answer["delay"]))
            self.send_response(status)
            if status != 200:
                self.send_header("X-Error-Code", str(answer["code"]))
            self.send_header("ETag", '"x"')
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError):  # the client of a slow hub has hung up
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    point_to(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield lambda status, code="", delay=0.0: answer.update(status=status, code=code, delay=delay)
    server.shutdown()


def test_a_hub_that_gives_the_files_says_what_they_weigh(hub: Callable[..., None]):
    answer = ask_hub(SUBJECT, "org/name", REVISION)
    assert (answer.granted, answer.reachable, answer.weight_bytes) == (True, True, 15_000_000_000)


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "GatedRepo", "it is gated, and access is not granted"),
        (404, "RepoNotFound", "the hub knows no org/name"),
        (404, "RevisionNotFound", f"org/name has no revision {REVISION}"),
        (403, "Other", "no access: the hub answers 403"),
    ],
)
def test_no_access_is_a_failure_with_its_reason(hub: Callable[..., None], status: int, code: str, says: str):
    hub(status, code)
    answer = ask_hub(SUBJECT, "org/name", REVISION)
    assert (answer.finding.status, answer.reachable) == ("failed", True)
    assert says in answer.finding.detail
    assert answer.finding.fix


def test_a_hub_that_is_down_slow_or_not_there_is_not_checked(hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch):
    hub(503, "Down")
    assert ask_hub(SUBJECT, "org/name", None).finding.detail == "the hub answers 503"
    monkeypatch.setattr(access, "HUB_TIMEOUT_SECONDS", 0.2)
    hub(200, delay=1.0)
    slow = ask_hub(SUBJECT, "org/name", None)
    point_to(monkeypatch, "http://127.0.0.1:9")
    absent = ask_hub(SUBJECT, "org/name", None)
    for answer in (slow, absent):
        assert (answer.finding.status, answer.reachable) == ("not checked", False)
        assert answer.finding.detail.startswith("not reachable: ")


def test_a_gated_model_needs_a_token_which_is_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    missing = check_token(SUBJECT, "org/name", None, gated=True, access="accept the licence")
    assert (missing.status, missing.fix) == ("failed", "accept the licence, then set HF_TOKEN")
    assert check_token(SUBJECT, "org/name", None, gated=False, access=None).status == "ok"
    assert check_token(SUBJECT, "package://demo-guard", None, gated=True, access=None).status == "ok"
    monkeypatch.setattr("huggingface_hub.get_token", lambda: SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    present = check_token(SUBJECT, "org/name", None, gated=True, access="accept the licence")
    assert present.status == "ok"
    assert SECRET not in repr(present)


def test_the_disk_has_to_hold_what_is_not_in_the_cache_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(access, "disk_usage", lambda folder: SimpleNamespace(free=10e9))
    needs = models()["R1-7B"]
    full = check_disk(SUBJECT, needs, 15_000_000_000)
    assert full.status == "failed"
    assert full.detail.startswith("15 GB, 15 GB of them to download; 10 GB free at ")
    assert check_disk(SUBJECT, models()["R1-1.5B"], None).status == "ok"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert check_disk(SUBJECT, needs, 15_000_000_000).status == "warning"
    blobs = tmp_path / "hub" / "models--deepseek-ai--DeepSeek-R1-Distill-Qwen-7B" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / "weights").open("wb") as sparse:
        sparse.truncate(15_000_000_000)
    assert check_disk(SUBJECT, needs, 15_000_000_000).status == "ok"


def test_a_folder_without_weights_or_with_a_broken_file_fails(tmp_path: Path):
    needs = models()["R1-7B"].model_copy(update={"source": str(tmp_path)})
    assert check_disk(SUBJECT, needs, None).status == "failed"
    (tmp_path / "config.json").write_text("{")
    for check in ("tokenizer", "config"):
        finding, loaded = load(SUBJECT, check, str(tmp_path), None, from_hub=False)
        assert (finding.status, loaded) == ("failed", None)
        assert finding.detail.startswith("does not load from its folder: ")


@pytest.mark.parametrize("offline", [True, False])
def test_without_the_hub_a_judges_fix_is_not_the_flag_of_the_model(offline: bool, monkeypatch: pytest.MonkeyPatch):
    point_to(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    for subject in (SUBJECT, Subject("guard", "judges.0")):
        findings = [
            ask_hub(subject, "org/name", None).finding,
            load(subject, "tokenizer", "no-such-organisation/no-such-model", None, from_hub=False)[0],
        ]
        for finding in findings:
            assert ("unset HF_HUB_OFFLINE, or " in (finding.fix or "")) is offline
            assert ("--weights" in (finding.fix or "")) is (subject is SUBJECT)
            assert ("deploy/warm_weights.py) and set HF_HOME" in (finding.fix or "")) is (subject is not SUBJECT)


def test_what_is_neither_in_the_cache_nor_given_is_not_checked():
    finding, loaded = load(SUBJECT, "tokenizer", "no-such-organisation/no-such-model", None, from_hub=False)
    assert (finding.status, loaded) == ("not checked", None)
