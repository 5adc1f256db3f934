"""Variants of files written by spreadsheets and scripts: equal rows, or a refusal with the fix."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.files import read_file
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.errors import InputError

TABLE = "prompt,category\nHow tall?,x\nÀ la carte?,y\n"
ROWS = [{"prompt": "How tall?", "category": "x"}, {"prompt": "À la carte?", "category": "y"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def written(folder: Path, name: str, content: str | bytes, encoding: str = "utf-8") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", TABLE),
        ("crlf.csv", TABLE.replace("\n", "\r\n")),
        ("old-mac.csv", TABLE.replace("\n", "\r")),
        ("declared.csv", "sep=,\n" + TABLE),
        ("declared-semicolon.csv", "sep=;\r\n" + TABLE.replace(",", ";")),
        ("declared-tab.csv", "sep=\t\n" + TABLE.replace(",", "\t")),
        ("blank-columns.csv", "".join(f"{line},,\n" for line in TABLE.splitlines())),
        ("blank-cells.csv", "prompt,category\nHow tall?,x,,\nÀ la carte?,y\n"),
        ("blank-rows.csv", TABLE + ",\n,\n\n,\n"),
        ("blank-both.csv", "".join(f"{line},,\n" for line in TABLE.splitlines()) + ",,,\n"),
        ("lines.ndjson", LINES),
        ("lines.json", LINES),
        ("list.jsonl", json.dumps(ROWS, indent=1)),
        ("list.json", "\n " + json.dumps(ROWS) + "\n\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_form_gives_the_same_rows(tmp_path: Path, name: str, content: str, encoding: str, zipped: bool):
    data = content.encode(encoding)
    path = written(tmp_path, f"{name}.gz" if zipped else name, gzip.compress(data) if zipped else data)
    records = read_file(path)
    assert list(records.rows) == ROWS
    assert records.columns == ("prompt", "category")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_read_by_its_mark_in_either_order(tmp_path: Path, encoding: str):
    assert list(read_file(written(tmp_path, "a.csv", "\ufeff" + TABLE, encoding)).rows) == ROWS


def test_a_long_field_is_read_and_pythons_limit_is_as_before(tmp_path: Path):
    before = csv.field_size_limit()
    prompt = "many shots. " * 30_000
    assert read_file(written(tmp_path, "a.csv", f'prompt\n"{prompt}"\n')).rows == [{"prompt": prompt}]
    assert csv.field_size_limit() == before


def test_a_blank_row_between_others_is_a_bad_row_and_keeps_its_number(tmp_path: Path):
    found = load_prompts(adhoc_entry(written(tmp_path, "a.csv", "prompt,category\nfirst,x\n,\nthird,x\n,\n"))).prompts
    assert [prompt.text for prompt in found] == ["first", "", "third"]
    assert found[1].error is not None


ODD = [
    "nul\0byte",
    "  blanks stay  ",
    "\ttab\r\nCRLF\rCR\n",
    "\u2028line\u2029paragraph\x85next",
    "NaN",
    "null",
    "NA",
    "1e999",
    "-0",
    "007",
    "zero\u200bwidth \ufeffmark",
    "\uffff\ufdd0",
    "\U0010ffff",
    '"quoted", and "again"',
    "sep=;",
    "<|eot_id|>\x1b[31m",
]


@pytest.mark.parametrize("name", ["odd.csv", "odd.tsv", "odd.jsonl", "odd.json"])
def test_an_odd_prompt_is_one_row_with_its_text_unchanged(tmp_path: Path, name: str):
    rows = [{"prompt": prompt, "category": "x"} for prompt in ODD]
    text = io.StringIO(newline="")
    if name.endswith("sv"):
        writer = csv.DictWriter(text, ["prompt", "category"], delimiter="\t" if name == "odd.tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.write("\n".join(map(json.dumps, rows)))
    assert [
        prompt.text for prompt in load_prompts(adhoc_entry(written(tmp_path, name, text.getvalue()))).prompts
    ] == ODD


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", TABLE.replace(",", ";"), r"separated by ; and not by , .*'prompt;category'.*Fix: .*sep=;"),
        ("a.csv", TABLE.replace(",", "\t"), "separated by tabs and not by ,"),
        ("a.tsv", TABLE, "separated by , and not by tabs"),
        (
            "a.csv",
            TABLE.encode("cp1252"),
            "line 3 is not UTF-8 text; it looks like Windows-1252. Fix: save .* as UTF-8",
        ),
        ("a.jsonl", LINES.encode("cp1252"), "line 2 is not UTF-8 text; it looks like Windows-1252. Fix: save"),
        ("a.json", json.dumps(ROWS, ensure_ascii=False).encode("cp1252"), "line 1 is not UTF-8 text; it looks like"),
        ("a.csv", TABLE.encode("utf-16-le"), "NUL bytes, as UTF-16 without a byte order mark"),
        ("a.jsonl", LINES.encode("utf-16-le"), "NUL bytes, as UTF-16 without a byte order mark"),
        ("a.csv", TABLE.encode("utf-16")[:-1], "not UTF-16 text"),
        ("a.csv", b"PK\x03\x04\x14\x00\x06\x00\xff\xfe", "an Excel workbook or a zip archive. Fix: save it as CSV"),
        ("a.csv", "prompt,category,,\nHello, there,x,\n", r"row 1 \(ending at line 2\) has 4 fields, the header has 2"),
        ("a.csv", "sep=;\nprompt;category\na;b;c\n", r"row 1 \(ending at line 3\) has 3 fields"),
        ("a.csv", ",\n", "holds no rows"),
        ("a.csv", "prompt,category\n,\n,\n", "holds no rows"),
        ("a.csv", "prompt,,,x\na,b,c,d\n", r"same name in its header \(none\)"),
        ("a.json", '{"data": [{"prompt": "x"}]}', "the key 'data' holds a list. Fix: save that list alone"),
        ("a.json", '{"train": [], "test": []}', "the key 'train' or 'test' holds a list"),
        ("a.json", '[{"prompt": "x"}] trailing', r"it is not JSON \(Extra data"),
        ("a.json", "", "it is not JSON"),
        ("a.jsonl", "", "holds no rows"),
        ("a.jsonl", '{"prompt": "x", "prompt": "y"}\n', "line 1 has the key 'prompt' more than once"),
        ("a.jsonl", '{"prompt": "x"}\n["y"]\n', "line 2 is not an object with named fields"),
        ("a.jsonl", '{"prompt": "x"} {"prompt": "y"}\n', r"line 1 is not JSON \(Extra data"),
    ],
)
def test_what_is_broken_is_refused_with_its_place(tmp_path: Path, name: str, content: str | bytes, complaint: str):
    with pytest.raises(InputError, match=complaint):
        read_file(written(tmp_path, name, content))


def test_one_column_may_hold_a_semicolon_in_its_name_where_it_is_asked_for(tmp_path: Path):
    path = written(tmp_path, "a.csv", "prompt; or question\nWhy?\n")
    assert [prompt.text for prompt in load_prompts(adhoc_entry(path, prompt_column="prompt; or question")).prompts] == [
        "Why?"
    ]


def test_half_of_a_surrogate_pair_makes_one_bad_row(tmp_path: Path):
    path = written(
        tmp_path, "a.jsonl", '{"prompt": "ok?"}\n{"prompt": "half \\ud83d"}\n{"prompt": "whole \\ud83d\\ude00"}\n'
    )
    found = load_prompts(adhoc_entry(path)).prompts
    assert [prompt.text for prompt in found] == ["ok?", "half \ufffd", "whole 😀"]
    assert [prompt.error is None for prompt in found] == [True, False, True]
    assert "the prompt holds half of a surrogate pair, which is no text (row 2 of" in (found[1].error or "")
    with pytest.raises(InputError, match=r"(?s)1 rows that can't be prompts:.*\nFix: correct the rows, or set on_bad"):
        load_prompts(adhoc_entry(path), on_bad_prompt="refuse")


@pytest.mark.parametrize("column", ["id", "kind"])
def test_so_does_one_in_a_column_that_is_asked_for_and_none_elsewhere(tmp_path: Path, column: str):
    path = written(
        tmp_path, "a.jsonl", f'{{"prompt": "ok?", "{column}": "\\ud83d"}}\n{{"prompt": "b?", "{column}": "b"}}\n'
    )
    asked = {"id": "id_column", "kind": "category_column"}[column]
    first = load_prompts(adhoc_entry(path, **{asked: column})).prompts[0]
    assert "holds half of a surrogate pair" in (first.error or "")
    assert all(prompt.error is None for prompt in load_prompts(adhoc_entry(path)).prompts)


@pytest.mark.parametrize("limit", [None, 1])
def test_a_set_without_a_good_row_is_refused_with_the_first_reasons(tmp_path: Path, limit: int | None):
    path = written(tmp_path, "a.jsonl", '{"prompt": ""}\n{"prompt": 7}\n')
    with pytest.raises(InputError, match=r"(?s)No row of .*the prompt is empty \(row 1 of .*Fix: .*--prompt-column"):
        load_prompts(adhoc_entry(path), limit=limit)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [("1.0", "1"), ("-0.0", "0"), ("3", "3"), ("2.5", "2.5"), ('"1.0"', "1.0"), ('"007"', "007"), ("true", "True")],
)
def test_integers_that_are_stored_as_floats_are_ids_as_integers_and_texts_stay(tmp_path: Path, stored: str, shown: str):
    path = written(tmp_path, "a.jsonl", f'{{"id": {stored}, "prompt": "a?", "kind": {stored}}}\n')
    (found,) = load_prompts(adhoc_entry(path, id_column="id", category_column="kind")).prompts
    assert (found.prompt_id, found.category) == (shown, shown)


def test_a_number_that_is_none_is_a_missing_id(tmp_path: Path):
    path = written(
        tmp_path, "a.jsonl", '{"id": NaN, "prompt": "a?"}\n{"id": null, "prompt": "b?"}\n{"id": 3, "prompt": "c"}\n'
    )
    found = load_prompts(adhoc_entry(path, id_column="id", category_column="id")).prompts
    assert [(prompt.prompt_id, prompt.category) for prompt in found] == [
        ("row-1", "uncategorised"),
        ("row-2", "uncategorised"),
        ("3", "3"),
    ]
    assert [prompt.error is None for prompt in found] == [False, False, True]


def test_a_key_twice_where_nobody_asked_for_it_changes_nothing(tmp_path: Path):
    path = written(tmp_path, "a.jsonl", '{"prompt": "Why?", "other": 1, "other": {"a": 1, "a": 2}}\n')
    assert [prompt.text for prompt in load_prompts(adhoc_entry(path)).prompts] == ["Why?"]
