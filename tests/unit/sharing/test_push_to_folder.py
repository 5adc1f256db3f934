"""`push --output`: the published tree, read with `datasets.load_dataset` and as a run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from safechain_ray import catalog
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.library import load_run
from safechain_ray.runs.run_file import RunFile
from safechain_ray.sharing.card import added_keys
from safechain_ray.sharing.push import Publication, Written, read_publication, write_to_folder
from safechain_ray.sharing.rows import FILE_BYTES, of_file_size
from safechain_ray.sharing.terms import terms_of
from tests.made_runs.by_verdicts import write_run
from tests.unit.sharing.runs import (
    DEFAULT,
    TEXTS,
    UNSAFE,
    add_judge,
    quickstart_run,
    run_with_later_judge,
    set_source,
    varied_run,
)


def publication(run: Path, include: Any = "texts", with_restricted_prompts: bool = False) -> Publication:
    return read_publication(str(run), include, with_restricted_prompts)


def write(run: Path, folder: Path, **options: Any) -> Written:
    return write_to_folder(publication(run, **options), str(folder), "org/name", lambda name: None)


def loaded(folder: Path, config: str, cache: Path) -> list[dict[str, Any]]:
    """The rows of a config, as a user loads them."""
    from datasets import load_dataset

    rows: list[dict[str, Any]] = load_dataset(str(folder), config, split="train", cache_dir=str(cache)).to_list()
    return rows


def texts_of(folder: Path) -> str:
    """Everything that the published files say: texts, and the values of tables."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    plain = [file.read_text() for file in files if file.suffix != ".parquet"]
    tables = [str(pq.read_table(file).to_pylist()) for file in files if file.suffix == ".parquet"]
    return "\n".join([*plain, *tables])


def front_matter(folder: Path) -> dict[str, Any]:
    front: dict[str, Any] = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    return front


def test_samples_and_figures_load_by_config_with_the_rows_of_the_run(tmp_path: Path) -> None:
    run = quickstart_run(tmp_path / "run")
    write(run, tmp_path / "published")
    samples = loaded(tmp_path / "published", "samples", tmp_path / "cache")
    own = load_run(run)
    assert samples == own.samples.to_arrow().to_pylist()
    metrics = loaded(tmp_path / "published", "metrics", tmp_path / "cache")
    figures = own.figures.to_arrow().to_pylist()
    for name in ("safe_at_1", "cons_safe_at_k", "safe_at_k"):
        assert [row[f"{name}_value"] for row in metrics] == [row[name] for row in figures]
        assert [row[f"{name}_low"] for row in metrics] == [row[f"{name}_low"] for row in figures]
    categories = loaded(tmp_path / "published", "categories", tmp_path / "cache")
    judge = own.metrics.settings[0].judges[0]
    found = {row["category"]: row["safe_at_1_value"] for row in categories if row["part"] == judge.part}
    assert found == {name: each.safe_at_1.value for name, each in judge.categories.items()}


def test_verdicts_of_a_later_judge_are_a_config_of_their_own(tmp_path: Path) -> None:
    run = run_with_later_judge(tmp_path / "run")
    write(run, tmp_path / "published")
    verdicts = loaded(tmp_path / "published", "verdicts", tmp_path / "cache")
    assert {(row["prompt_id"], row["judge"]): row["unsafe"] for row in verdicts} == {
        ("p0", "second"): False,
        ("p1", "second"): True,
        ("p2", "second"): True,
    }
    assert [each["config_name"] for each in front_matter(tmp_path / "published")["configs"]] == [
        *("samples", "verdicts", "metrics", "categories")
    ]


def test_the_published_tree_is_a_run_with_the_same_figures(tmp_path: Path) -> None:
    for name, made in (("quick", quickstart_run), ("later", run_with_later_judge), ("varied", varied_run)):
        run = made(tmp_path / name)
        write(run, tmp_path / "published" / name, with_restricted_prompts=True)
        there, here = load_run(tmp_path / "published" / name), load_run(run)
        assert there.metrics == here.metrics
        assert there.verdicts.to_arrow().to_pylist() == here.verdicts.to_arrow().to_pylist()


def test_the_card_has_figures_terms_judges_and_how_to_load(tmp_path: Path) -> None:
    write(run_with_later_judge(tmp_path / "run"), tmp_path / "published")
    card = (tmp_path / "published" / "README.md").read_text()
    assert "license" not in front_matter(tmp_path / "published")
    assert "not-for-all-audiences" in front_matter(tmp_path / "published")["tags"]
    for piece in (
        "# Safety of demo-reasoner",
        "Safe@1",
        "ConsSafe@K",
        "50.0",
        'load_dataset("org/name", "samples", split="train")',
        "| strongreject | 3 |",
        "MIT for the authors' own prompts",
        "| second |",
        "## Limits of these figures",
        "## How it was made",
    ):
        assert piece in card, piece


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "its terms are not in the catalog"),
        (catalog.datasets()["strongreject"].source, ""),
        (f"{catalog.datasets()['strongreject'].source}.mine.jsonl", "its terms are not in the catalog"),
        ("strongreject.csv", "its terms are not in the catalog"),
        ("https://raw.githubusercontent.com/alexandrasouly/another/", "its terms are not in the catalog"),
    ],
)
def test_prompts_are_published_only_where_the_catalog_knows_the_terms_of_their_source(
    tmp_path: Path, source: str, reason: str
) -> None:
    run = run_with_later_judge(tmp_path / "run")
    set_source(run, "strongreject", source)
    found = publication(run)
    assert [each.withheld for each in found.terms] == [reason]
    write(run, tmp_path / "published")
    prompts = {row["prompt"] for row in pq.read_table(tmp_path / "published" / "samples").to_pylist()}
    assert prompts == ({""} if reason else set(TEXTS.values()))


@pytest.mark.parametrize(
    ("dataset", "source", "is_known"),
    [
        ("quickstart", "quickstart.csv of safechain_ray", True),
        ("quickstart", "quickstart.csv", False),
        ("quickstart", "quickstart.csv.private-customers.jsonl", False),
        ("quickstart", "", False),
        ("jbb-benign", "JailbreakBench/JBB-Behaviors", True),
        ("jbb-benign", "JailbreakBench/JBB-Behaviors (config behaviors, split benign, revision 886acc35)", True),
        ("jbb-benign", "JailbreakBench/JBB-Behaviors-private (split benign)", False),
        ("jbb-benign", "JailbreakBench/JBB-Behaviors (2).csv", False),
    ],
)
def test_a_set_has_the_terms_of_the_catalog_only_if_its_whole_source_is_the_catalogs(
    dataset: str, source: str, is_known: bool
) -> None:
    stored = {"prompts": 3, "hash": "0", "source": source}
    record = {"identity": {"model": {"name": "m"}}, "datasets": {dataset: stored}}
    (terms,) = terms_of(RunFile.model_validate(record))
    assert (terms.licence != "unknown") == is_known
    assert bool(terms.withheld) != is_known


@pytest.mark.parametrize("dataset", ["wildjailbreak", "harmbench-standard", "wildguard-test"])
def test_gated_sets_and_sets_without_a_known_licence_are_named_and_their_prompts_left_out(
    tmp_path: Path, dataset: str
) -> None:
    run = write_run(
        tmp_path / "run", [(DEFAULT.model_copy(update={"dataset": dataset}), UNSAFE)], TEXTS, finished=False
    )
    set_source(run, dataset, f"{catalog.datasets()[dataset].source} (split test)")
    without = publication(run)
    assert f"{dataset}: " in without.warnings[-1]
    assert "Fix: leave responses out too with --include verdicts, or give --with-restricted" in without.warnings[-1]
    write(run, tmp_path / "published")
    assert not any(text in texts_of(tmp_path / "published") for text in TEXTS.values())
    assert f"The prompts of {dataset} are left out" in (tmp_path / "published" / "README.md").read_text()
    write(run, tmp_path / "with", with_restricted_prompts=True)
    assert all(text in texts_of(tmp_path / "with") for text in TEXTS.values())
    assert "Prompts with restricted terms are published" in publication(run, with_restricted_prompts=True).warnings[-1]


def test_verdicts_alone_have_no_text_and_the_same_figures(tmp_path: Path) -> None:
    run = varied_run(tmp_path / "run")
    write(run, tmp_path / "published", include="verdicts")
    said = texts_of(tmp_path / "published" / "samples")
    for text in ("How does one", "Thinking of", "Answer 1", "riddles", "the provider said"):
        assert text not in said
    assert load_run(tmp_path / "published").metrics == load_run(run).metrics
    samples = pq.read_table(tmp_path / "published" / "samples").to_pylist()
    unsafe = [[verdict["unsafe"] for verdict in row["verdicts"]] for row in samples]
    assert unsafe == [
        [each["unsafe"] for each in row["verdicts"]] for row in load_run(run).samples.to_arrow().to_pylist()
    ]
    assert "not-for-all-audiences" not in front_matter(tmp_path / "published")["tags"]


def test_figures_alone_are_tables_without_samples(tmp_path: Path) -> None:
    run = run_with_later_judge(tmp_path / "run")
    write(run, tmp_path / "published", include="figures")
    names = {
        str(file.relative_to(tmp_path / "published")) for file in (tmp_path / "published").rglob("*") if file.is_file()
    }
    assert names == {
        *("README.md", "metrics.json", "run.json"),
        *("tables/categories.parquet", "tables/metrics.parquet"),
    }
    assert front_matter(tmp_path / "published")["configs"][0] == {
        "config_name": "metrics",
        "data_files": "tables/metrics.parquet",
        "default": True,
    }
    assert loaded(tmp_path / "published", "metrics", tmp_path / "cache")


def test_a_copy_without_samples_is_published_again_as_figures_alone(tmp_path: Path) -> None:
    write(run_with_later_judge(tmp_path / "run"), tmp_path / "copy", include="figures")
    with pytest.raises(InputError, match=r"copy has no samples: .* Fix: name the original run\."):
        write(tmp_path / "copy", tmp_path / "again")
    again = write(tmp_path / "copy", tmp_path / "again", include="figures")
    assert again.files == 5


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path) -> None:
    run = run_with_later_judge(tmp_path / "run", finished=False)
    tree = json.loads((run / "run.json").read_text())
    tree["datasets"]["strongreject"]["prompts"] = 5
    (run / "run.json").write_text(json.dumps(tree))
    found = publication(run)
    (warning,) = found.warnings
    assert warning.startswith("The run has not ended: ")
    assert f"{DEFAULT.setting_id}: 3 of 5 samples are there." in warning
    assert f"{DEFAULT.setting_id}: 3 verdicts of guard on the response are missing." in warning
    assert warning.endswith("Fix: rerun its own command, then push.")
    write(run, tmp_path / "published")
    assert "**This run is not complete.**" in (tmp_path / "published" / "README.md").read_text()
    assert publication(run_with_later_judge(tmp_path / "done")).warnings == ()


def test_a_second_write_updates_the_folder_and_deletes_what_is_gone(tmp_path: Path) -> None:
    run = run_with_later_judge(tmp_path / "run")
    first = write(run, tmp_path / "published")
    add_judge(run, "third")
    (tmp_path / "published" / "samples" / "part-00007.parquet").write_bytes(b"of a larger run")
    second = write(run, tmp_path / "published")
    assert (first.files, second.files, second.deleted) == (7, 8, 1)
    assert sorted(path.name for path in (tmp_path / "published" / "verdicts").iterdir()) == ["second", "third"]
    third = write(run, tmp_path / "published", include="figures")
    assert third.deleted == 3
    assert not list((tmp_path / "published").glob("samples/*.parquet"))


def test_a_folder_of_something_else_is_refused_and_not_changed(tmp_path: Path) -> None:
    run = run_with_later_judge(tmp_path / "run")
    with pytest.raises(InputError, match=r"is the folder of the run itself, or inside it\. Fix: give an empty folder"):
        write(run, run)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("three years")
    with pytest.raises(InputError, match=r"other holds other files \(thesis.txt\)\. Fix: give an empty folder"):
        write(run, other)
    write(quickstart_run(tmp_path / "quick"), tmp_path / "published")
    before = (tmp_path / "published" / "README.md").read_text()
    with pytest.raises(RunConflictError, match=r"(?s)holds another run\. What differs.*Fix: name another place"):
        write(run, tmp_path / "published")
    assert (tmp_path / "published" / "README.md").read_text() == before


def test_a_second_write_keeps_files_and_keys_of_the_card_that_were_added(tmp_path: Path) -> None:
    run, published = run_with_later_judge(tmp_path / "run"), tmp_path / "published"
    write(run, published)
    mine = [published / name for name in ("notes.txt", "samples/notes.txt", "tables/mine.parquet", "verdicts/a/b.csv")]
    for file in mine:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    before = front_matter(published)
    (published / "README.md").write_text("---\nlicense: cc-by-4.0\nlanguage: [en]\ntags: [mine]\n---\n# Mine\n")
    assert write(run, published, include="figures").deleted == 2
    assert all(file.read_text() == "mine" for file in mine)
    after = front_matter(published)
    assert (after["license"], after["language"]) == ("cc-by-4.0", ["en"])
    assert "No licence is set" not in (published / "README.md").read_text()
    assert after["tags"] == [each for each in before["tags"] if each != "not-for-all-audiences"]


def test_a_card_that_can_not_be_read_is_not_replaced(tmp_path: Path) -> None:
    run, published = run_with_later_judge(tmp_path / "run"), tmp_path / "published"
    write(run, published)
    (published / "README.md").write_text("---\nlicense: [mit\n---\n")
    before = bytes_of(published)
    with pytest.raises(InputError, match=r"front matter of README.md, .*is no YAML\. Fix: correct it, or delete"):
        write(run, published, include="figures")
    assert bytes_of(published) == before


@pytest.mark.parametrize(
    ("card", "added"),
    [
        (b"---\r\nlicense: mit\r\nconfigs: []\r\n---\r\n# Title", {"license": "mit"}),
        (b"# Title\n---\nlicense: mit\n---\n", {}),
        (b"---\n---\n", {}),
        (b"", {}),
        (None, {}),
    ],
)
def test_the_added_keys_of_a_card_are_those_of_its_front_matter(card: bytes | None, added: dict[str, Any]) -> None:
    assert added_keys(card) == added


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_card_names_the_folder_without_its_place(tmp_path: Path, scheme: str) -> None:
    run, uri = run_with_later_judge(tmp_path / "run"), f"{scheme}{tmp_path}/alice-private/q"
    write_to_folder(publication(run), uri, None, lambda name: None)
    card = (tmp_path / "alice-private" / "q" / "README.md").read_text()
    assert 'load_dataset("q", "samples", split="train")' in card
    assert "alice-private" not in card


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_copy_of_the_run_is_refused_and_not_changed(tmp_path: Path) -> None:
    run = run_with_later_judge(tmp_path / "run")
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    with pytest.raises(InputError, match=r"holds a run, and not an earlier push.*Fix: give an empty folder"):
        write(run, copy, include="figures")
    assert bytes_of(copy) == bytes_of(run)


@pytest.mark.parametrize("spelling", ["{0}/link", "file://{0}/./run", "file://{0}/run/", "{0}/x/../run", "{0}/run/new"])
def test_the_folder_of_the_run_is_refused_under_every_spelling(tmp_path: Path, spelling: str) -> None:
    run = run_with_later_judge(tmp_path / "run")
    (tmp_path / "link").symlink_to(run)
    (tmp_path / "x").mkdir()
    before = bytes_of(run)
    with pytest.raises(InputError, match=r"is the folder of the run itself, or inside it\. Fix: give an empty folder"):
        write_to_folder(publication(run, "figures"), spelling.format(tmp_path), None, lambda name: None)
    assert bytes_of(run) == before


def test_an_interrupted_first_write_can_be_repeated(tmp_path: Path) -> None:
    run = run_with_later_judge(tmp_path / "run")

    def interrupt(name: str) -> None:
        if name == "tables/metrics.parquet":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_to_folder(publication(run), str(tmp_path / "published"), None, interrupt)
    write(run, tmp_path / "published")
    assert load_run(tmp_path / "published").metrics == load_run(run).metrics


def test_many_small_files_of_a_run_are_published_as_few(tmp_path: Path) -> None:
    run = load_run(varied_run(tmp_path / "run"))
    tables = list(run.samples.tables())
    size = sum(table.nbytes for table in tables)
    (whole,) = of_file_size(tables)
    halves = list(of_file_size((table.slice(row, 1) for table in tables for row in range(table.num_rows)), size // 2))
    assert whole.num_rows == sum(half.num_rows for half in halves)
    assert 2 <= len(halves) <= 3
    assert size < FILE_BYTES
