"""Files with very many names, or many equal rows: linear time."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from safechain_ray.config.base import refuse_repeats
from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.columnar import _chosen, with_class_names
from safechain_ray.datasets.files import SplitFiles
from safechain_ray.datasets.json_files import parse_delimited, parse_json_lines
from safechain_ray.datasets.loading import prompts_of
from safechain_ray.datasets.records import BrokenFileError, Records

MANY = 40_000

SECONDS = 8
"""Of processor time. Linear code takes about 1 s, and comparing each name with each other one more than 10 s."""

NAMES = [f"c{number}" for number in range(MANY)]


def repeated_key(folder: Path) -> None:
    fields = ", ".join(f'"{name}": 1' for name in [*NAMES, "c0"])
    with pytest.raises(BrokenFileError, match="line 1 has the key 'c0' more than once"):
        parse_json_lines(f"{{{fields}}}".encode(), None)


def header(folder: Path) -> None:
    assert parse_delimited(",".join(NAMES).encode(), ["prompt"]) == (tuple(NAMES), [])
    with pytest.raises(BrokenFileError, match=r"the same name in its header \(c0\)\. Fix: rename one of them"):
        parse_delimited(",".join([*NAMES, "c0"]).encode(), ["prompt"])


def columns_of_a_table(folder: Path) -> None:
    assert _chosen(NAMES, None) == NAMES
    with pytest.raises(BrokenFileError, match=r"two columns have the same name \(c0\)\. Fix: rename one of them"):
        _chosen([*NAMES, "c0"], None)


def columns_of_a_split(folder: Path) -> None:
    text = f"{','.join(NAMES)}\n{','.join(map(str, range(MANY)))}\n"
    files = [folder / "1.csv", folder / "2.csv"]
    for file in files:
        file.write_text(text)
    assert len(SplitFiles("train", "csv", tuple(map(str, files))).read("set", None).rows) == 2


def class_names_of_a_column(folder: Path) -> None:
    rows = [{"label": number} for number in range(MANY)]
    assert with_class_names(rows, {"label": tuple(NAMES)})[-1] == {"label": NAMES[-1]}


def rows_that_are_all_alike(folder: Path) -> None:
    found = prompts_of(adhoc_entry("a.csv"), Records(("prompt",), [{"prompt": "Why?"}] * MANY, "a.csv"))
    assert len({prompt.prompt_id for prompt in found}) == MANY


def names_in_a_config(folder: Path) -> None:
    with pytest.raises(ValueError, match="datasets names c0 more than once"):
        refuse_repeats(datasets=[*NAMES, "c0"])


@pytest.mark.parametrize(
    "read",
    [
        repeated_key,
        header,
        columns_of_a_table,
        columns_of_a_split,
        class_names_of_a_column,
        rows_that_are_all_alike,
        names_in_a_config,
    ],
)
def test_time_grows_with_the_number_of_names(tmp_path: Path, read: Callable[[Path], None]):
    start = time.process_time()
    read(tmp_path)
    assert time.process_time() - start < SECONDS
