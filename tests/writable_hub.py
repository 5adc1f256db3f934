"""A Hugging Face hub on loopback that data sets are pushed to: repositories, large files, commits, and refusals."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from huggingface_hub import constants

TOKEN = "hf_" + "t0ken" * 6

Refusal = tuple[int, dict[str, str]]
"""Status and headers of an answer in place of the usual one."""


@dataclass
class Repository:
    """A data set repository: its files at the head, and the messages of its commits."""

    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.parquet filter=lfs"})
    commits: list[str] = field(default_factory=lambda: ["initial commit"])

    @property
    def head(self) -> str:
        return hashlib.sha1("\n".join(self.commits).encode(), usedforsecurity=False).hexdigest()


@dataclass
class Hub:
    """The state of a hub. `refuse` may answer a request (method, path) in place of the hub.

    `after_commit` runs when a commit is stored, before it is answered, and may break the connection.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    uploads: int = 0
    refuse: Callable[[str, str], Refusal | None] = lambda method, path: None
    after_commit: Callable[[], Refusal | None] = lambda: None


@contextmanager
def writable_hub() -> Iterator[Hub]:
    """A hub without repositories, which takes `TOKEN`."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            path = unquote(urlsplit(self.path).path)
            body = self._body()
            hub.requests.append(f"{self.command} {path}")
            refusal = hub.refuse(self.command, path)
            if refusal is None and self._needs_token(path) and self.headers["Authorization"] != f"Bearer {TOKEN}":
                refusal = 401, {"X-Error-Message": "Invalid credentials in Authorization header"}
            if refusal is not None:
                self._refuse(refusal)
                return
            self._route(path, body)

        do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815  # names of http.server

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _needs_token(self, path: str) -> bool:
            return not path.startswith("/lfs/")

        def _route(self, path: str, body: bytes) -> None:
            if path == "/api/repos/create":
                self._create(json.loads(body))
            elif path == "/api/validate-yaml":
                self._validate(json.loads(body)["content"])
            elif path.startswith("/lfs/"):
                self._store(path.removeprefix("/lfs/"), body)
            elif found := re.fullmatch(r"(?:/api)?/datasets/([\w.-]+/[\w-]+)(?:\.git)?(/.*)?", path):
                name, rest = found[1], found[2] or ""
                if name in hub.repositories:
                    self._of_repository(name, hub.repositories[name], rest, body)
                else:
                    self._answer(404, {"X-Error-Code": "RepoNotFound"})
            else:
                self._answer(404)

        def _of_repository(self, name: str, repository: Repository, rest: str, body: bytes) -> None:
            if rest.startswith("/preupload/"):
                self._json({"files": [_mode(repository, each["path"]) for each in json.loads(body)["files"]]})
            elif rest == "/info/lfs/objects/batch":
                self._json({"objects": [self._upload_action(each) for each in json.loads(body)["objects"]]})
            elif rest.startswith("/commit/"):
                self._commit(name, repository, [json.loads(line) for line in body.splitlines()])
            elif rest.startswith("/resolve/"):
                self._file(repository, rest.split("/", 3)[3])
            else:
                siblings = [{"rfilename": each} for each in repository.files]
                facts = {"id": name, "sha": repository.head, "private": repository.private, "tags": []}
                self._json({**facts, "siblings": siblings})

        def _create(self, asked: dict[str, Any]) -> None:
            name = f"{asked['organization']}/{asked['name']}"
            if name in hub.repositories:
                self._answer(409)
                return
            hub.repositories[name] = Repository(asked.get("visibility") == "private")
            self._json({"url": f"{hub.address}/datasets/{name}"})

        def _validate(self, content: str) -> None:
            front = yaml.safe_load(content.split("---\n")[1])
            errors = [] if isinstance(front, dict) and "configs" in front else [{"message": "no configs"}]
            self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

        def _upload_action(self, asked: dict[str, Any]) -> dict[str, Any]:
            if asked["oid"] in hub.blobs:
                return asked
            return {**asked, "actions": {"upload": {"href": f"{hub.address}/lfs/{asked['oid']}"}}}

        def _store(self, oid: str, body: bytes) -> None:
            assert hashlib.sha256(body).hexdigest() == oid
            hub.blobs[oid] = body
            hub.uploads += 1
            self._answer(200)

        def _commit(self, name: str, repository: Repository, lines: list[dict[str, Any]]) -> None:
            header, *changes = ((line["key"], line["value"]) for line in lines)
            if header[1].get("parentCommit", repository.head) != repository.head:
                self._answer(412, {"X-Error-Message": "A commit has happened since. Please refresh and try again."})
                return
            for kind, value in changes:
                if kind == "deletedFile":
                    del repository.files[value["path"]]
                else:
                    content = hub.blobs[value["oid"]] if kind == "lfsFile" else base64.b64decode(value["content"])
                    repository.files[value["path"]] = content
            repository.commits.append(header[1]["summary"])
            refusal = hub.after_commit()
            if refusal is not None:
                self._refuse(refusal)
                return
            url = f"{hub.address}/datasets/{name}/commit/{repository.head}"
            self._json({"commitUrl": url, "commitOid": repository.head})

        def _file(self, repository: Repository, name: str) -> None:
            if name not in repository.files:
                self._answer(404, {"X-Error-Code": "EntryNotFound"})
                return
            content = repository.files[name]
            tag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            self._answer(200, {"X-Repo-Commit": repository.head, "ETag": f'"{tag}"'}, content)

        def _refuse(self, refusal: Refusal) -> None:
            self._answer(*refusal, body=b'{"error": "refused"}')

        def _json(self, found: object, status: int = 200) -> None:
            self._answer(status, {"Content-Type": "application/json"}, json.dumps(found).encode())

        def _answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
            self.send_response(status)
            for header, value in (headers or {}).items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()


def _mode(repository: Repository, path: str) -> dict[str, Any]:
    """How a file is uploaded, and the id of the file that the repository has."""
    large = path.endswith(".parquet")
    stored = repository.files.get(path)
    if stored is None:
        oid = None
    elif large:
        oid = hashlib.sha256(stored).hexdigest()
    else:
        oid = hashlib.sha1(b"blob %d\0" % len(stored) + stored, usedforsecurity=False).hexdigest()
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}


def use_hub(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Direct huggingface_hub to a hub on this machine, with `TOKEN`. Its address is read when the library is imported.

    Large files go by the LFS protocol: Xet has no server outside of the hub.
    """
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
