"""The metadata service of a machine at AWS or Google Cloud, with the notice that a test gives it."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Metadata:
    """What a running service says. `notice` is AWS's JSON; `preempted` Google's word; `broken` answers 503."""

    def __init__(self) -> None:
        self.url = ""
        self.notice: str | None = None
        self.preempted = "FALSE"
        self.broken = False
        self.looks = 0

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        self.looks += method == "GET"
        if self.broken:
            return 503, "try later"
        match method, path:
            case "PUT", "/latest/api/token" if headers.get("x-aws-ec2-metadata-token-ttl-seconds"):
                return 200, "a-token"
            case "GET", "/latest/meta-data/spot/instance-action":
                if headers.get("x-aws-ec2-metadata-token") != "a-token":
                    return 401, "no token"
                return (404, "none") if self.notice is None else (200, self.notice)
            case "GET", "/computeMetadata/v1/instance/preempted":
                return (200, self.preempted) if headers.get("metadata-flavor") == "Google" else (403, "no header")
        return 404, "no such page"


@contextmanager
def metadata_server() -> Iterator[Metadata]:
    metadata = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text = metadata.answer(self.command, self.path, headers)
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        metadata.url = f"http://127.0.0.1:{server.server_port}"
        serving = Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield metadata
        server.shutdown()
        serving.join()
