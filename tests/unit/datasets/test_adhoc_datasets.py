"""Data sets without a catalog entry: files, hub ids and their names."""

from pathlib import Path

import pytest

from safechain_ray.datasets.adhoc import adhoc_entry, is_adhoc
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.errors import InputError


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("prompts.csv", "file", "prompts"),
        ("some/where/my prompts.v2.jsonl.gz", "file", "my-prompts.v2"),
        ("https://host/sets/prompts.parquet?token=x", "file", "prompts"),
        ("s3://bucket/prompts.TSV", "file", "prompts"),
        ("hf://datasets/owner/set/data.json", "file", "data"),
        ("owner/WildJailbreakEval", "huggingface", "WildJailbreakEval"),
        ("owner/set.v1", "huggingface", "set.v1"),
    ],
)
def test_paths_and_addresses_are_files_and_the_rest_are_ids(source: str, kind: str, name: str) -> None:
    assert is_adhoc(source)
    entry = adhoc_entry(source)
    assert (entry.kind, entry.source, entry.name) == (kind, source, name)


@pytest.mark.parametrize("name", ["strongreject", "wildjailbreak-small"])
def test_a_plain_name_is_left_to_the_catalog(name: str) -> None:
    assert not is_adhoc(name)


def test_a_folder_is_read_as_the_hub_lays_it_out(tmp_path: Path) -> None:
    assert adhoc_entry(f"{tmp_path}/").kind == "huggingface"
    assert adhoc_entry(str(tmp_path)).name == tmp_path.name


def test_a_file_without_a_known_suffix_is_refused_for_its_format(tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_text("hello")
    with pytest.raises(InputError, match="no known format"):
        load_prompts(adhoc_entry(str(path)))


@pytest.mark.parametrize("name", ["prompts.xlsx", "prompts.txt", "prompts"])
def test_an_existing_file_without_a_known_suffix_is_no_catalog_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_adhoc(name)
    Path(name).write_text("hello")
    assert is_adhoc(name)
    with pytest.raises(InputError, match=f"{name} has no known format. Fix: save it as CSV, or give a file"):
        load_prompts(adhoc_entry(name))


def test_a_uri_that_lacks_a_slash_is_refused_with_the_right_one() -> None:
    for source in ("https:/host/a.csv", "s3:/bucket/a.csv", "hf:/datasets/a/b.json"):
        assert is_adhoc(source)
        with pytest.raises(InputError, match="Fix: write it as " + source.replace(":/", "://")):
            adhoc_entry(source)


def test_what_is_neither_a_file_nor_an_id_is_refused() -> None:
    with pytest.raises(InputError, match=r"no file some/where/prompts.*\. Fix: check the path or the name; `safe"):
        adhoc_entry("some/where/prompts")


def test_columns_are_those_given_and_the_prompt_column_is_never_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,kind\nhello,greeting\n")
    with pytest.raises(InputError, match=r"no column 'prompt'.*text, kind.*--prompt-column"):
        load_prompts(adhoc_entry(str(path)))
    (found,) = load_prompts(adhoc_entry(str(path), prompt_column="text", category_column="kind")).prompts
    assert (found.text, found.category) == ("hello", "greeting")
