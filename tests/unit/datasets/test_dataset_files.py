"""Data files: every format gives the same rows, and a broken file is reported with the position."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.datasets.files import read_file
from safechain_ray.errors import InputError

Rows = list[dict[str, str]]

ROWS: Rows = [
    {"id": "007", "prompt": "NA", "category": "a,b"},
    {"id": "1.0", "prompt": 'It says "no",\nthen\tstops.', "category": "null"},
    {"id": "é", "prompt": "  spaces stay  ", "category": "日本"},
]


def encoded(rows: Rows, suffix: str) -> bytes:
    """`rows` as the bytes of a file whose name ends in `suffix`."""
    if suffix.endswith(".gz"):
        return gzip.compress(encoded(rows, suffix.removesuffix(".gz")))
    if suffix == ".parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    if suffix == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if suffix == ".json":
        return json.dumps(rows, ensure_ascii=False).encode()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=rows[0], delimiter="\t" if suffix == ".tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


FORMATS = [".csv", ".tsv", ".json", ".jsonl", ".parquet"]


@pytest.mark.parametrize("suffix", [*FORMATS, ".csv.gz", ".jsonl.gz", ".CSV"])
def test_every_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"my.prompts{suffix}"
    path.write_bytes(encoded(ROWS, suffix.lower()))
    records = read_file(str(path))
    assert list(records.rows) == ROWS
    assert records.columns == ("id", "prompt", "category")
    assert records.source == str(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_have_the_columns_that_are_wanted_and_the_records_know_all(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"prompts{suffix}"
    path.write_bytes(encoded(ROWS, suffix))
    records = read_file(str(path), {"prompt", "elsewhere"})
    assert list(records.rows) == [{"prompt": row["prompt"]} for row in ROWS]
    assert records.columns == ("id", "prompt", "category")


texts = st.text(st.characters(codec="utf-8"))


@pytest.mark.parametrize("suffix", FORMATS)
@given(rows=st.lists(st.fixed_dictionaries({"id": texts.filter(bool), "prompt": texts}), min_size=1, max_size=4))
def test_any_text_survives_any_format(suffix: str, rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(encoded(rows, suffix))
    assert list(read_file(str(path)).rows) == rows


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", b"id,prompt\n1,x\n2,y,z\n", r"row 2 \(ending at line 3\) has 3 fields, the header has 2\. Fix: "),
        ("a.csv", b'id,prompt\n1,"x\n', r"row 1 .*unexpected end of data"),
        ("a.csv", b"id,id\n1,2\n", "same name"),
        ("a.csv", b"id,prompt\n1,caf\xe9\n", "line 2 is not UTF-8"),
        ("a.csv", b"id,prompt\n", "holds no rows"),
        ("a.csv", b"", "holds no rows"),
        ("a.json", b"[]", "holds no rows"),
        ("a.json", b'{"prompt": "x"}', r"not a list of objects\. Fix: save the rows as a list"),
        (
            "a.json",
            b'["x"]',
            r"item 1 is not an object with named fields\. Fix: write .* example \{\"prompt\": ",
        ),
        ("a.jsonl", b'{"prompt": "x"}\n{"prompt"\n', "line 2 is not JSON"),
        ("a.parquet", b"PAR1 and no more", "no complete Parquet file"),
        ("a.csv.gz", b"id,prompt\n", "can't be unzipped"),
        ("a.csv.gz", gzip.compress(b"id,prompt\n1,x\n")[:-9], "can't be unzipped"),
        ("a.txt", b"prompt\n", r"no known format\. Fix: save it as CSV, or give a file .* in \.csv.*\.parquet"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_place(name: str, content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=complaint) as refusal:
        read_file(str(tmp_path / name))
    assert name in str(refusal.value)


def test_half_a_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.parquet"
    path.write_bytes(encoded(ROWS, ".parquet")[:200])
    with pytest.raises(InputError, match=r"half\.parquet is broken.*\. Fix: correct it, or replace it with an "):
        read_file(str(path))


def test_a_byte_order_mark_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfprompt\r\n\r\nhello\r\n\r\n")
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "hello"}\r\n\n')
    for name in ("a.csv", "a.jsonl"):
        assert list(read_file(str(tmp_path / name)).rows) == [{"prompt": "hello"}]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^Can't read .*none\.csv: there is no such file.*\. Fix: check the path\.$"):
        read_file(str(tmp_path / "none.csv"))


class Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path == "/sets/prompts.csv?token=hush"
        content = encoded(ROWS, ".csv") if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def web() -> Iterator[str]:
    """The address of a web server that has one file, for those who know its token."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_is_read_from_a_web_server_and_its_token_is_kept_quiet(web: str) -> None:
    records = read_file(f"{web}/sets/prompts.csv?token=hush")
    assert list(records.rows) == ROWS
    assert records.source == f"{web}/sets/prompts.csv?***"


def test_a_download_that_fails_says_why_and_what_else_to_do(web: str) -> None:
    with pytest.raises(
        InputError, match=r"/none\.csv\?\*\*\*: the server answered 404.* in place of its address\.$"
    ) as refusal:
        read_file(f"{web}/none.csv?token=hush")
    assert "hush" not in str(refusal.value)
    with pytest.raises(InputError, match="Connection refused"):
        read_file("http://127.0.0.1:9/prompts.csv")


def test_an_unknown_kind_of_address_is_refused() -> None:
    with pytest.raises(InputError, match="ftp:// is not supported"):
        read_file("ftp://host/prompts.csv")
