"""A Hugging Face hub on loopback with one data set, as much of its API as reading files takes."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(repository: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """The address of a hub whose data set `repository` (owner/name) has these files, by their paths."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._resolve(with_body=False)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith(f"/api/datasets/{repository}/tree/"):
                folder = path.removeprefix(f"/api/datasets/{repository}/tree/").partition("/")[2]
                found = self._below(f"{folder}/" if folder else "", "recursive=true" in self.path.lower())
                self._answer(found) if found else self._missing()
            elif path.startswith(f"/api/datasets/{repository}"):
                siblings = [{"rfilename": name} for name in files]
                self._answer({"id": repository, "sha": COMMIT, "private": False, "siblings": siblings, "tags": []})
            else:
                self._resolve(with_body=True)

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer([self._entry(name) for name in files if name in unquote(asked)])

        def _below(self, folder: str, recursive: bool) -> list[dict[str, str | int]]:
            """Files and folders in `folder`."""
            inside = [name.removeprefix(folder) for name in files if name.startswith(folder)]
            folders = dict.fromkeys(name.partition("/")[0] for name in inside if "/" in name)
            shown = [name for name in inside if recursive or "/" not in name]
            return [
                *({"type": "directory", "path": folder + name, "size": 0, "oid": COMMIT} for name in folders),
                *(self._entry(folder + name) for name in shown),
            ]

        def _entry(self, name: str) -> dict[str, str | int]:
            return {"type": "file", "path": name, "size": len(files[name]), "oid": self._tag(name)}

        def _tag(self, name: str) -> str:
            return hashlib.sha1(files[name], usedforsecurity=False).hexdigest()

        def _resolve(self, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            name = path.partition("/resolve/")[2].partition("/")[2]
            if not path.startswith(f"/datasets/{repository}/resolve/") or name not in files:
                self._missing()
                return
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{self._tag(name)}"')
            self.send_header("Content-Length", str(len(files[name])))
            self.end_headers()
            if with_body:
                self.wfile.write(files[name])

        def _missing(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _answer(self, found: object) -> None:
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
