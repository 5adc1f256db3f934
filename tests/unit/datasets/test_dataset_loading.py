"""Loading prompts: ids are unique and stable, bad rows are named, the wrong set is refused."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.catalog import datasets
from safechain_ray.catalog.row_entries import DatasetEntry
from safechain_ray.datasets.loading import fingerprint, load_prompts, prompts_of
from safechain_ray.datasets.records import Records
from safechain_ray.errors import InputError
from safechain_ray.types import Prompt
from tests.real_data import needs_real_data, real

SHARED = real("data")


def entry(source: str = "", rows: int | None = None, prompt: str = "prompt", **columns: str) -> DatasetEntry:
    return DatasetEntry(name="mine", kind="file", source=source, prompt_column=prompt, rows=rows, **columns)


WITH_IDS = entry(id_column="id", category_column="category")


def written(path: Path, rows: Sequence[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def ten(tmp_path: Path) -> DatasetEntry:
    return entry(written(tmp_path / "ten.jsonl", [{"prompt": f"question {number}"} for number in range(10)]))


def prompts(rows: Sequence[dict[str, object]], columns: DatasetEntry = WITH_IDS) -> tuple[Prompt, ...]:
    return prompts_of(columns, Records(("id", "prompt", "category"), rows, "a.csv"))


def test_ids_and_categories_come_from_their_columns_as_text() -> None:
    found = prompts([{"id": 7, "prompt": "Hello", "category": 3}, {"id": "x", "prompt": "Bye", "category": None}])
    assert found == (Prompt("7", "Hello", "3"), Prompt("x", "Bye", "uncategorised"))


def test_without_an_id_column_the_id_is_a_hash_of_the_text() -> None:
    first, second = prompts([{"prompt": "Hello"}, {"prompt": "Bye"}], entry())
    assert prompts([{"prompt": "Bye"}], entry())[0].prompt_id == second.prompt_id
    assert len(first.prompt_id) == 12
    assert int(first.prompt_id, 16) >= 0
    assert first.category == "all"


@pytest.mark.parametrize("empty", ["", " \n\t", None])
def test_an_empty_prompt_becomes_an_error_with_its_row(empty: str | None) -> None:
    found = prompts([{"id": "x", "prompt": "Hello"}, {"id": "y", "prompt": empty}])
    assert (found[1].prompt_id, found[1].error) == ("y", "the prompt is empty (row 2 of a.csv)")
    without_ids = prompts([{"prompt": empty}, {"prompt": empty}], entry())
    assert [prompt.prompt_id for prompt in without_ids] == ["row-1", "row-2"]


def test_a_prompt_that_is_no_text_becomes_an_error() -> None:
    (found,) = prompts([{"id": "x", "prompt": [{"role": "user"}]}])
    assert found.error == "the prompt is no text but a value of type list (row 1 of a.csv)"


def test_a_row_without_an_id_becomes_an_error() -> None:
    (found,) = prompts([{"id": " ", "prompt": "Hello"}])
    assert (found.prompt_id, found.error) == ("row-1", "the id (id) is empty (row 1 of a.csv)")


def test_a_repeated_id_becomes_an_error_under_an_id_of_its_own() -> None:
    found = prompts([{"id": name, "prompt": name} for name in ("x", "x", "x#2", "x")])
    assert [prompt.prompt_id for prompt in found] == ["x", "x#3", "x#2", "x#4"]
    assert [prompt.error for prompt in found] == [
        None,
        "repeats the id of row 1 (row 2 of a.csv)",
        None,
        "repeats the id of row 1 (row 4 of a.csv)",
    ]


def test_without_an_id_column_a_repeated_text_becomes_an_error() -> None:
    found = prompts([{"prompt": "Hello"}, {"prompt": "Hello"}], entry())
    assert found[1].error == "repeats the text of row 1 (row 2 of a.csv)"
    assert found[1].prompt_id == f"{found[0].prompt_id}#2"


few = st.sampled_from(["", " ", "a", "a#2", "a#3", "b", "row-1", "row-2", "row-2#2"])
any_rows = st.lists(st.fixed_dictionaries({"id": few | st.none(), "prompt": few | st.none() | st.integers()}))


@given(rows=any_rows, columns=st.sampled_from([entry(), entry(id_column="id")]))
def test_ids_are_always_unique_and_the_first_row_with_an_id_keeps_it(
    rows: list[dict[str, object]], columns: DatasetEntry
) -> None:
    found = prompts(rows, columns)
    ids = [prompt.prompt_id for prompt in found]
    assert len(set(ids)) == len(rows)
    if columns.id_column:
        wanted = [str(row["id"] or "").strip() for row in rows]
        assert {name for name in wanted if name} <= set(ids)
        assert all(ids[wanted.index(name)] == name for name in wanted if name)


def test_refusing_lists_the_first_bad_rows(tmp_path: Path) -> None:
    source = written(tmp_path / "bad.jsonl", [{"prompt": "fine"}, *({"prompt": ""} for _ in range(7))])
    with pytest.raises(InputError) as refusal:
        load_prompts(entry(source), on_bad_prompt="refuse")
    message = str(refusal.value)
    assert "7 rows" in message
    assert "row 2 of" in message
    assert "row 6 of" in message
    assert "row 7 of" not in message
    assert "and 2 more" in message
    assert sum(prompt.error is not None for prompt in load_prompts(entry(source)).prompts) == 7


def test_a_missing_column_is_refused_with_those_there_are(tmp_path: Path) -> None:
    source = written(tmp_path / "a.jsonl", [{"question": "x", "kind": "y"}])
    with pytest.raises(InputError, match=r"a\.jsonl has no column 'prompt'.*question, kind.*--prompt-column"):
        load_prompts(entry(source))
    with pytest.raises(InputError, match=r"no column 'response'\. Its columns: question, kind\."):
        load_prompts(entry(source, prompt="response"))
    with pytest.raises(InputError, match=r"no column 'kinds'\. Did you mean 'kind'"):
        load_prompts(entry(source, prompt="question", category_column="kinds"))


def test_another_number_of_rows_than_the_set_has_is_refused(ten: DatasetEntry) -> None:
    with pytest.raises(InputError, match=r"10 rows, but data set 'mine' has 11"):
        load_prompts(ten.model_copy(update={"rows": 11}))
    assert len(load_prompts(ten.model_copy(update={"rows": 10}), limit=3).prompts) == 3


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(ten: DatasetEntry, limit: int) -> None:
    with pytest.raises(InputError, match=rf"limit: {limit} is too small\. Fix: give 1 or more prompts\.$"):
        load_prompts(ten, limit=limit)


def test_a_category_may_have_its_prompts_in_a_column_of_its_own(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"plain": "How?", "wrapped": "", "kind": "vanilla"},
        {"plain": "How?", "wrapped": "As a pirate: how?", "kind": "adversarial"},
        {"plain": "How?", "wrapped": None, "kind": "adversarial"},
    ]
    mine = entry(written(tmp_path / "a.jsonl", rows), prompt="plain", category_column="kind")
    found = load_prompts(mine.model_copy(update={"prompt_columns": {"adversarial": "wrapped"}})).prompts
    assert [prompt.text for prompt in found] == ["How?", "As a pirate: how?", ""]
    assert "the prompt is empty (row 3" in (found[2].error or "")
    with pytest.raises(InputError, match=r"no column 'warped'. Did you mean 'wrapped'\?"):
        load_prompts(mine.model_copy(update={"prompt_columns": {"adversarial": "warped"}}))


def test_shuffling_comes_before_the_limit_and_follows_the_seed(ten: DatasetEntry) -> None:
    whole = load_prompts(ten)
    shuffled = load_prompts(ten, shuffle_seed=1)
    assert whole.prompts != shuffled.prompts
    assert set(whole.prompts) == set(shuffled.prompts)
    assert load_prompts(ten, shuffle_seed=1, limit=4).prompts == shuffled.prompts[:4]
    assert load_prompts(ten, shuffle_seed=2).prompts != shuffled.prompts
    assert load_prompts(ten, limit=4).prompts == whole.prompts[:4]


def test_the_fingerprint_follows_the_contents_and_not_the_order_or_the_place(tmp_path: Path, ten: DatasetEntry) -> None:
    whole = load_prompts(ten)
    copy = tmp_path / "copy.jsonl"
    copy.write_text(Path(ten.source).read_text())
    assert load_prompts(entry(str(copy)), shuffle_seed=3).fingerprint == whole.fingerprint
    assert load_prompts(ten, limit=9).fingerprint != whole.fingerprint
    plain = Prompt("x", "text", "all")
    others = [Prompt("y", "text", "all"), Prompt("x", "other", "all"), Prompt("x", "text", "a")]
    assert len({fingerprint([prompt]) for prompt in [plain, *others]}) == 4


def test_the_quickstart_set_has_six_categories_of_ten_distinct_prompts() -> None:
    found = load_prompts(datasets()["quickstart"], on_bad_prompt="refuse").prompts
    assert len({prompt.text for prompt in found}) == 60
    assert set(Counter(prompt.category for prompt in found).values()) == {10}
    assert len({prompt.category for prompt in found}) == 6


def test_every_catalog_entry_names_a_licence_and_the_commit_of_its_url() -> None:
    for found in datasets().values():
        assert found.licence != "unknown", found.name
        assert found.rows is not None
        if found.kind == "file":
            assert found.revision is not None
            assert found.revision in found.source


@needs_real_data("data/strongreject.csv", "data/xstest_prompts.csv")
@pytest.mark.parametrize(("name", "file"), [("strongreject", "strongreject.csv"), ("xstest", "xstest_prompts.csv")])
def test_a_local_copy_of_a_public_set_fits_its_entry(name: str, file: str) -> None:
    local = datasets()[name].model_copy(update={"source": str(SHARED / file)})
    found = load_prompts(local, on_bad_prompt="refuse")
    with open(SHARED / file, newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [prompt.text for prompt in found.prompts] == [row[local.prompt_column] for row in rows]
    assert [prompt.category for prompt in found.prompts] == [row[local.category_column or ""] for row in rows]


HUB = """
import sys
from safechain_ray.catalog.row_entries import DatasetEntry
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.errors import InputError

def load(source, **fields):
    entry = DatasetEntry(name="mine", kind="huggingface", source=source, prompt_column="instruction", **fields)
    try:
        print(*(prompt.text for prompt in load_prompts(entry).prompts), sep=",")
    except InputError as error:
        print(str(error).replace("\\n", " "))

load(sys.argv[1], config="50")
load(sys.argv[1], config="51")
load(sys.argv[1], config="50", split="test")
load("owner/name", config="250", revision="main")
load(
    sys.argv[2],
    config="train",
    load_options={"delimiter": "\t", "keep_default_na": False},
    category_column="data_type",
    prompt_columns={"adversarial_benign": "adversarial"},
)
"""

CARD = """---
configs:
- config_name: "250"
  data_files: big.jsonl
- config_name: "50"
  data_files: small.jsonl
---
"""

TSV_CARD = """---
configs:
- config_name: "train"
  data_files: train.tsv
---
"""


@pytest.mark.slow
def test_a_set_of_the_hub_is_loaded_by_config_and_its_errors_say_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "README.md").write_text(CARD)
    written(folder / "big.jsonl", [{"instruction": "big"}])
    written(folder / "small.jsonl", [{"instruction": "one"}, {"instruction": "two"}])
    kinds = tmp_path / "kinds"
    kinds.mkdir()
    (kinds / "README.md").write_text(TSV_CARD)
    (kinds / "train.tsv").write_text(
        "instruction\tadversarial\tcompletion\tdata_type\nNA\t\tNo.\tvanilla_benign\nx\ty, z\tNo.\tadversarial_benign\n"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", HUB, str(folder), str(kinds)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    loaded, no_config, no_split, offline, of_kinds = result.stdout.splitlines()
    assert loaded == "one,two"
    assert "config 51" in no_config
    assert "'50'" in no_config
    assert "split test" in no_split
    assert "Fix: name another split with --split" in no_split
    assert no_split.endswith(", or check its config and revision.")
    assert "owner/name (config 250, split train, revision main)" in offline
    assert "HF_HUB_OFFLINE" in offline
    assert "the path of a local copy" in offline
    assert of_kinds == "NA,y, z"


@pytest.mark.parametrize(
    ("columns", "flags"),
    [
        ({"prompt_column": "prompt"}, ""),
        ({"prompt_column": "q", "category_column": "kind"}, ", with --prompt-column q --category-column kind"),
        ({"prompt_column": "q", "prompt_columns": {"adversarial": "wrapped"}}, ""),
    ],
)
def test_a_download_that_fails_names_the_columns_of_a_local_copy(columns: dict[str, Any], flags: str) -> None:
    mine = DatasetEntry(name="mine", kind="file", source="http://127.0.0.1:9/prompts.csv", **columns)
    with pytest.raises(InputError) as refusal:
        load_prompts(mine)
    fix = f"the network, or give the path of a local copy in place of its name{flags}."
    assert str(refusal.value).endswith(fix)


def test_a_gated_set_says_how_to_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets as hub
    from datasets.exceptions import DatasetNotFoundError

    def refuse(*args: object, **kwargs: object) -> None:
        raise DatasetNotFoundError("Dataset 'owner/name' is a gated dataset on the Hub.\nVisit its page.")

    monkeypatch.setattr(hub, "load_dataset_builder", refuse)
    gated = DatasetEntry(name="mine", kind="huggingface", source="owner/name", prompt_column="prompt")
    with pytest.raises(InputError, match=r"is a gated dataset on the Hub\. .*hf auth login.*the path of a local copy"):
        load_prompts(gated)
