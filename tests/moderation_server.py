"""A local server that speaks the moderation API, and misbehaves on demand."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from safechain_ray.catalog import judges
from safechain_ray.catalog.judge_entries import Endpoint, JudgeEntry


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; `seconds` is how long it takes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    key: str
    path: str
    body: dict[str, Any]


def moderation(scores: dict[str, float | None], flagged: tuple[str, ...] = ()) -> Answer:
    """An answer in the API's form."""
    result = {
        "flagged": bool(flagged),
        "categories": {name: None if score is None else name in flagged for name, score in scores.items()},
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in scores},
    }
    body = {"id": "modr-1", "model": "omni-moderation-latest", "results": [result]}
    return Answer(body=json.dumps(body).encode())


def problem(status: int, message: str, **headers: str) -> Answer:
    """An error in the API's form."""
    body = json.dumps({"error": {"message": message, "type": "t", "param": None, "code": None}}).encode()
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def flags_bombs(text: str) -> Answer:
    if "bomb" in text:
        return moderation({"violence": 0.9, "illicit": 0.7, "hate": 0.1}, flagged=("violence", "illicit"))
    return moderation({"violence": 0.1, "illicit": None, "hate": 0.2})


@dataclass
class ModerationServer:
    """`answer` gives what comes of a text; the answers in `first` come before all others."""

    answer: Callable[[str], Answer] = flags_bombs
    first: list[Answer] = field(default_factory=list)
    requests: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, asked: Asked) -> Answer:
        with self._lock:
            self.requests.append(asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            answer = self.first.pop(0) if self.first else self.answer(asked.body["input"])
        time.sleep(answer.seconds)
        with self._lock:
            self._at_once -= 1
        return answer


@contextmanager
def serving(**behaviour: Any) -> Iterator[ModerationServer]:
    """The server on a free port, until the block ends."""
    moderator = ModerationServer(**behaviour)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            answer = moderator.handle(Asked(key, self.path, body))
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    moderator.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield moderator
    finally:
        server.shutdown()
        server.server_close()


def moderation_entry(server: ModerationServer, **endpoint: Any) -> JudgeEntry:
    """The catalog's moderation judge, asking `server`."""
    whole = Endpoint(base_url=server.url, model="omni-moderation-latest", **endpoint)
    return judges()["openai-moderation"].model_copy(update={"endpoint": whole})
