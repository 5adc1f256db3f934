"""The fine-grained analysis as tables: whole figures, nothing empty, and foreign names as inert text."""

import io
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from safechain_ray.analysis.fine_grained import FineGrained
from safechain_ray.commands.fine_grained import analyse
from safechain_ray.report.fine_grained import chosen_counts, fine_grained_document
from safechain_ray.report.renderers import print_document
from safechain_ray.types import PIECES_SCHEMA
from tests.made_runs.by_config import finished_run
from tests.made_runs.stored import read_tree, write_tree

HEADINGS = ("Thought against answer", "Length", "Safe@k and ConsSafe@k", "Over-refusal", "First unsafe piece")


def printed(analysis: FineGrained, width: int = 80, by_category: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_document(fine_grained_document(analysis, by_category), console)
    return console.file.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with one thought, on a harmful prompt, that was judged in pieces."""
    finished = finished_run(tmp_path)
    sample = finished.samples.read_parquet("part-160.parquet").slice(0, 1).to_pylist()[0]
    rows = [
        {**sample, "pieces": 4, "piece": piece, "end": piece, "characters": 4, "judge": "guard", "unsafe": piece == 3}
        for piece in (1, 2, 3, 4)
    ]
    finished.prefix_verdicts("guard").write_parquet("part.parquet", pa.Table.from_pylist(rows, schema=PIECES_SCHEMA))
    write_tree(finished, read_tree(finished) | {"pieces": {"guard": {"identity": {"name": "guard"}}}})
    return tmp_path


@pytest.mark.parametrize("width", [80, 100])
def test_every_section_fits_the_width_with_every_figure_whole(run: Path, width: int):
    text = printed(analyse(str(run)), width, by_category=True)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for heading in HEADINGS:
        assert heading in text
    for figure in ("100", "50.0", "benign-sensitive", "66.7", "k=3", "3/4", "never", "<0.001"):
        assert figure in text
    assert "Truncated" not in text


def test_thought_against_answer_is_a_table_of_samples_with_rates_at_its_margins(run: Path):
    lines = [line.split() for line in printed(analyse(str(run)), 100).splitlines()]
    assert ["quickstart", "default", "safe", "40", "0", "0", "0.0"] in lines
    assert ["refusal-match", "0.0-8.8"] in lines
    assert ["unsafe", "40", "40", "0", "50.0"] in lines
    assert ["unsafe", "%", "50.0", "100.0"] in lines


def test_benign_prompts_have_a_line_for_all_and_one_for_each_category(run: Path):
    lines = [line.split() for line in printed(analyse(str(run)), 100).splitlines()]
    assert ["all", "benign", "100.0", "83.9-100.0", "20", "0"] in lines
    assert ["benign", "100.0", "72.2-100.0", "10"] in lines
    assert ["all", "others", "66.7", "51.2-79.2", "40"] in lines


def test_a_section_with_nothing_to_show_is_left_out_and_the_fix_is_named(tmp_path: Path):
    finished_run(tmp_path, parts=["response"], samples=1, sampling={"temperature": 0})
    text = printed(analyse(str(tmp_path)))
    for heading in ("Thought against answer", "Safe@k and ConsSafe@k", "Truncated", "First unsafe piece"):
        assert heading not in text
    assert "judge RUN --judge J --part thought --part answer" in " ".join(text.split())


def test_hostile_names_are_printed_as_inert_text(run: Path):
    analysis = analyse(str(run))
    hostile = "\x1b[2J[bold red]Hate[/nothing] :smile: [link=file:///etc]x"
    (setting,) = analysis.settings
    (table,) = setting.thought_answer
    table = table.model_copy(update={"judge": hostile, "categories": {hostile: table}})
    setting = setting.model_copy(update={"dataset": hostile, "thought_answer": (table,)})
    analysis = analysis.model_copy(update={"model": hostile, "settings": (setting,), "caveats": (hostile,)})
    text = printed(analysis, width=250, by_category=True)
    assert "\x1b" not in text
    assert text.count("[bold red]Hate[/nothing] :smile: [link=file:///etc]x") >= 4


def test_few_values_of_k_represent_many_with_both_ends():
    assert chosen_counts(1) == [1]
    assert chosen_counts(5) == [1, 2, 3, 4, 5]
    assert chosen_counts(100) == [1, 21, 41, 60, 80, 100]
