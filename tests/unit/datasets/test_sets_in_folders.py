"""Sets in folders and on the hub: the same rows as single files, and configs and splits by name."""

import json
import os
import subprocess
import sys
import zipfile
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safechain_ray.datasets.adhoc import adhoc_entry, with_subset
from safechain_ray.datasets.files import SplitFiles, remember, remembered
from safechain_ray.datasets.loading import load_prompts, read_records
from safechain_ray.errors import InputError
from tests.hub_server import hub
from tests.unit.datasets.test_dataset_files import encoded

CARD = """---
configs:
- config_name: behaviours
  data_files:
  - split: harmful
    path: data/harmful.csv
  - split: benign
    path: data/benign.csv
- config_name: judges
  data_files:
  - split: test
    path: data/judges.csv
---
"""


@pytest.fixture
def two_configs(tmp_path: Path) -> str:
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "README.md").write_text(CARD)
    for name in ("harmful", "benign", "judges"):
        (tmp_path / "set" / "data" / f"{name}.csv").write_text(f"id,prompt\n007,{name}\n")
    return str(tmp_path / "set")


def texts(source: str, **place: Any) -> list[str]:
    return [prompt.text for prompt in load_prompts(adhoc_entry(source, **place)).prompts]


def test_configs_and_splits_are_named_and_the_only_one_is_taken(two_configs: str):
    assert texts(two_configs, config="behaviours", split="harmful") == ["harmful"]
    assert texts(two_configs, config="behaviours", split="benign") == ["benign"]
    assert texts(two_configs, config="judges") == ["judges"]
    assert texts(two_configs, config="behaviours", split="benign+harmful[:1]") == ["benign", "harmful"]
    assert texts(two_configs, config="behaviours", split="benign[:0]+harmful") == ["harmful"]


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ({}, r"several configs: behaviours, judges\. Fix: name one with --name"),
        ({"config": "behaviours"}, r"several splits: harmful, benign\. Fix: name one with --split"),
        ({"config": "behaviours", "split": "train"}, r"no split 'train', only harmful, benign"),
        ({"config": "judge"}, r"config judge.*'judges'"),
    ],
)
def test_what_must_be_named_is_said(two_configs: str, place: dict[str, str], complaint: str):
    with pytest.raises(InputError, match=complaint):
        texts(two_configs, **place)


@pytest.mark.parametrize("place", [{"split": "test"}, {"config": "judges"}])
def test_a_single_file_has_neither(tmp_path: Path, place: dict[str, str]):
    (tmp_path / "a.csv").write_text("prompt\nWhy?\n")
    with pytest.raises(InputError, match=r"a\.csv is a file, and --\w+ .*chooses a part of a folder"):
        with_subset(adhoc_entry(str(tmp_path / "a.csv")), **place)


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8) | st.sampled_from(
    ["007", "NA", "1.0", "null", "2024-01-01", "2024-01-01T00:00:00Z", "true", "1e5", "-0", "\0", "a\r\nb"]
)
some_rows = st.lists(st.fixed_dictionaries({"id": words, "prompt": words, "category": words}), min_size=1, max_size=4)
FORMS = [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".csv.gz", ".jsonl.gz"]
places = count()


def bytes_of(rows: list[dict[str, str]], suffix: str) -> bytes:
    return encoded(rows, suffix.replace(".ndjson", ".jsonl"))


def fingerprint(source: Path) -> str:
    entry = adhoc_entry(str(source), id_column="id", category_column="category")
    return load_prompts(entry).fingerprint


@settings(max_examples=10, deadline=None)
@given(rows=some_rows)
def test_the_same_rows_are_the_same_set_in_every_format_and_in_a_folder(
    rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
):
    rows[0]["id"], rows[0]["prompt"] = "first", "A good row"
    base = tmp_path_factory.getbasetemp() / f"place-{next(places)}"
    found = {}
    for suffix in FORMS:
        folder = base / suffix.strip(".")
        folder.mkdir(parents=True)
        file = folder / f"test{suffix}"
        file.write_bytes(bytes_of(rows, suffix))
        found[suffix] = fingerprint(file)
        if suffix in (".csv", ".tsv", ".jsonl.gz", ".parquet"):
            found[f"{suffix} in a folder"] = fingerprint(folder)
    assert len(set(found.values())) == 1, found


def test_a_text_that_looks_like_a_number_a_date_or_nothing_stays_in_a_folder_what_it_is(tmp_path: Path):
    row = {"id": "007", "prompt": "NA", "category": "2024-01-01"}
    for suffix in (".csv", ".jsonl", ".csv.gz"):
        folder = tmp_path / suffix.strip(".")
        folder.mkdir()
        (folder / f"train{suffix}").write_bytes(bytes_of([row], suffix))
        assert read_records(adhoc_entry(str(folder))).rows == [row]


def test_all_files_of_a_split_are_read_in_their_order_and_an_empty_one_adds_nothing(tmp_path: Path):
    for number, lines in enumerate(["a\nb\n", "", "c\n"]):
        (tmp_path / f"train-0000{number}-of-00003.csv").write_text(f"prompt\n{lines}")
    assert texts(str(tmp_path)) == ["a", "b", "c"]


def test_files_of_a_split_with_other_columns_are_refused(tmp_path: Path):
    (tmp_path / "train-00000-of-00002.csv").write_text("prompt,kind\na,x\n")
    (tmp_path / "train-00001-of-00002.csv").write_text("prompt,sort\nb,y\n")
    assert texts(str(tmp_path)) == ["a", "b"]
    with pytest.raises(InputError, match=r"train-00001-of-00002\.csv of .* has no column kind, which another file"):
        load_prompts(adhoc_entry(str(tmp_path), category_column="kind"))


def test_a_broken_file_of_a_folder_is_named(tmp_path: Path):
    (tmp_path / "train.csv").write_text("prompt\na,b\n")
    with pytest.raises(InputError, match=r"train\.csv of .* is broken: row 1 \(ending at line 2\) has 2 fields"):
        texts(str(tmp_path))


@pytest.mark.parametrize(
    ("option", "refused"), [('quotechar: "\'"', True), ("sep: ;", False), ("encoding: cp1252", False)]
)
def test_options_of_a_card_that_change_rows_are_obeyed_or_refused(tmp_path: Path, option: str, refused: bool):
    (tmp_path / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files: a.csv\n  {option}\n---\n"
    )
    separator = ";" if "sep" in option else ","
    (tmp_path / "a.csv").write_text(
        f"prompt{separator}id\ncafé{separator}1\n", "cp1252" if "cp1252" in option else "utf-8"
    )
    if refused:
        with pytest.raises(InputError, match=r"is CSV with options that are not supported: quotechar\."):
            texts(str(tmp_path))
    else:
        assert texts(str(tmp_path)) == ["café"]


def test_class_names_of_a_card_hold_for_csv(tmp_path: Path):
    card = {
        "dataset_info": {"features": [{"name": "kind", "dtype": {"class_label": {"names": {"0": "bad", "1": "good"}}}}]}
    }
    (tmp_path / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    (tmp_path / "train.csv").write_text("prompt,kind\na,1\nb,0\n")
    found = load_prompts(adhoc_entry(str(tmp_path), category_column="kind")).prompts
    assert [prompt.category for prompt in found] == ["good", "bad"]


def test_what_only_the_library_reads_it_still_reads(tmp_path: Path):
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "train.txt").write_text("first\nsecond\n")
    assert texts(str(tmp_path / "lines"), prompt_column="text") == ["first", "second"]
    (tmp_path / "zipped").mkdir()
    with zipfile.ZipFile(tmp_path / "zipped" / "train.jsonl.zip", "w") as archive:
        archive.writestr("train.jsonl", '{"prompt": "inside"}\n')
    assert texts(str(tmp_path / "zipped")) == ["inside"]


@pytest.mark.parametrize("asked", ["prompt", "other"])
def test_a_column_of_a_large_folder_is_read_alone(tmp_path: Path, asked: str):
    pq.write_table(pa.table({"prompt": ["a"], "other": ["b"]}), tmp_path / "train.parquet")
    records = read_records(adhoc_entry(str(tmp_path)), {asked})
    assert (list(records.rows), records.columns) == ([{asked: "a" if asked == "prompt" else "b"}], ("prompt", "other"))


def test_files_are_remembered_while_all_are_there(tmp_path: Path):
    (tmp_path / "hub").mkdir()
    file = tmp_path / "hub" / "a.csv"
    file.write_text("prompt\na\n")
    found = SplitFiles("test", "csv", (str(file),), class_names={"kind": ("a", "b")})
    remember(found, tmp_path, "owner/set", None, "test")
    again = remembered(tmp_path, "owner/set", None, "test")
    assert again is not None
    assert list(again.read("it", None).rows) == [{"prompt": "a"}]
    assert remembered(tmp_path, "owner/set", None, "train") is None
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    assert remembered(moved, "owner/set", None, "test") is not None
    (moved / "hub" / "a.csv").unlink()
    assert remembered(moved, "owner/set", None, "test") is None


LOAD = """
import sys
from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.errors import InputError

for split in sys.argv[1:]:
    try:
        entry = adhoc_entry("owner/set", id_column="id", config="default", split=split or None)
        found = load_prompts(entry)
        print(found.source, [(prompt.prompt_id, prompt.text) for prompt in found.prompts])
    except InputError as error:
        print(str(error).replace("\\n", " "))
"""


@pytest.mark.slow
def test_a_set_of_the_hub_has_the_rows_of_its_files_and_is_read_again_without_the_hub(tmp_path: Path):
    files = {
        "README.md": b"---\nlicense: mit\n---\n",
        "data/test.csv": b"id,prompt\n007,NA\n2024-01-01,Why?\n",
    }

    def load(endpoint: str, offline: str) -> list[str]:
        places = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": offline}
        command = [sys.executable, "-c", LOAD, "", "test", "train"]
        result = subprocess.run(
            command, env=os.environ | places, capture_output=True, text=True, timeout=120, check=True
        )
        return result.stdout.splitlines()

    with hub("owner/set", files) as endpoint:
        online = load(endpoint, "0")
    rows = "owner/set (config default, split test) [('007', 'NA'), ('2024-01-01', 'Why?')]"
    assert online[:2] == [rows, rows]
    assert "no split 'train', only test" in online[2]
    offline = load("http://127.0.0.1:9", "1")
    assert offline[:2] == [rows, rows]
    assert "HF_HUB_OFFLINE" in offline[2]


@pytest.mark.parametrize(
    "named", ["../outside.csv", "{outside}", "zip://outside.csv::{packed}", "http://127.0.0.1:1/x.csv"]
)
def test_a_card_that_names_files_outside_of_its_folder_is_refused(tmp_path: Path, named: str):
    """Their content would be prompts, and go to the models of others."""
    (tmp_path / "outside.csv").write_text("prompt\na secret\n")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.writestr("outside.csv", "prompt\na secret\n")
    folder = tmp_path / "set"
    folder.mkdir()
    path = named.format(outside=tmp_path / "outside.csv", packed=tmp_path / "packed.zip")
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: a\n  data_files: '{path}'\n---\n")
    with pytest.raises(InputError):
        load_prompts(adhoc_entry(str(folder)))


def test_a_link_to_a_file_outside_of_its_folder_is_refused_but_for_the_hubs_cache(tmp_path: Path):
    (tmp_path / "outside.csv").write_text("prompt\nWhy?\n")
    snapshot = tmp_path / "datasets--org--set" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    blob = snapshot.parent.parent / "blobs" / "77"
    blob.parent.mkdir()
    blob.write_text("prompt\nWhy?\n")
    (snapshot / "train.csv").symlink_to(blob)
    assert len(load_prompts(adhoc_entry(str(snapshot))).prompts) == 1
    (snapshot / "train.csv").unlink()
    (snapshot / "train.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(InputError, match=r"which is not a file of the set\. Fix: correct the card"):
        load_prompts(adhoc_entry(str(snapshot)))
