"""Benchmarks as tables and as a page: every k, what is missing, the published figures, and names that do nothing."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from safechain_ray.benchmarks.base import Problem
from safechain_ray.catalog.published import published_figures
from safechain_ray.commands.benchmark_references import REFERENCES, shown_reference
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.published import published_passes
from safechain_ray.report.benchmark_tables import benchmark_document, with_published_passes
from safechain_ray.report.html.benchmark import benchmark_page
from safechain_ray.report.html.sample_sources import pack_graded
from safechain_ray.report.renderers import markdown, print_document
from tests.made_benchmarks import finished
from tests.unit.report.unpacked import unpacked

FIGURES = published_figures()


def sampled(folder: Path) -> BenchmarkRunMetrics:
    """Two samples each of four problems, one of them truncated."""
    metrics = finished(folder, {0: False, 2: False, 3: False}, samples=2, **{"sampling.temperature": 0.6}).metrics
    (sums,) = metrics.benchmarks
    outcomes = sums.outcomes | {"ok": 7, "truncated": 1}
    return metrics.model_copy(update={"benchmarks": (sums.model_copy(update={"outcomes": outcomes}),)})


def beside(metrics: BenchmarkRunMetrics, stand_in: str | None) -> str:
    found = published_passes(metrics, FIGURES.finetuning, stand_in)
    return markdown(with_published_passes(benchmark_document(metrics), metrics, found, FIGURES))


def test_every_k_has_a_column_with_its_interval(tmp_path: Path) -> None:
    shown = io.StringIO()
    print_document(benchmark_document(sampled(tmp_path)), Console(file=shown, width=80))
    text = shown.getvalue()
    assert "Problems solved by demo-reasoner temp=0.6 K=2" in text
    assert all(word in text for word in ("pass@1", "pass@2", "62.5", "75.0", "12.5%"))
    assert "4 of 1,319 problems were asked. The figures rest on only 4 problems." in " ".join(text.split())


def test_the_published_figure_is_beside_ours_with_what_differs(tmp_path: Path) -> None:
    text = beside(sampled(tmp_path), "R1-7B-safechain")
    assert "published figures of R1-7B-safechain" in text
    assert "| gsm8k | 62.5; 25.0-100.0 | 79.5\\* | -17.0; inside |" in text
    assert "model demo-reasoner, not R1-7B-safechain" in text
    assert "prompts and graders are not published" in text


def test_for_an_unpublished_model_a_note_names_the_published_ones(tmp_path: Path) -> None:
    text = beside(sampled(tmp_path), None)
    assert "No figures of demo-reasoner were published on these benchmarks" in text
    assert "R1-8B-wj-40k" in text


def test_the_page_holds_the_tables_and_the_run_and_nothing_of_a_name_acts(tmp_path: Path) -> None:
    done = finished(tmp_path, {})
    run = done.folder.read_run()
    assert run is not None
    hostile = done.metrics.model_copy(update={"model": "<script>alert(1)</script>"})
    samples = pack_graded(done.folder, done.metrics)
    page = benchmark_page(hostile, run, samples, "R1-7B")
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert all(title in page for title in ("Beside the paper", "pass@1", "gsm8k: 4 prompts from"))
    assert "Beside the paper" not in benchmark_page(done.metrics, run, samples)


def test_a_damaged_file_of_references_is_a_warning_of_the_page(tmp_path: Path) -> None:
    done = finished(tmp_path, {})
    done.folder.folder.write_bytes(REFERENCES, b"torn")
    run = done.folder.read_run()
    assert run is not None
    samples = pack_graded(done.folder, done.metrics)
    (caveat,) = samples.caveats
    assert caveat.startswith("No reference answers are shown: ")
    assert caveat.endswith(". Fix: restore the file from a copy, or rerun the command that wrote it.")
    assert "No reference answers are shown" in benchmark_page(done.metrics, run, samples)


def test_the_page_has_every_answer_with_its_grade_its_graded_text_and_the_reference(tmp_path: Path) -> None:
    done = finished(tmp_path, {1: False, 2: None})
    samples = pack_graded(done.folder, done.metrics)
    index, chunk = unpacked(samples.index), unpacked(samples.chunks[0])
    assert (samples.rows, samples.with_text, samples.is_blurred) == (4, 4, False)
    assert (index["kind"], index["label"], index["blurred"]) == ("grade", None, False)
    assert index["judges"] == [{"judge": "grade", "part": None}]
    assert sorted(index["verdicts"]) == ["c", "c", "m", "w"]
    letters = [index["verdicts"][index["text"].index(number)] for number in range(4)]
    for letter, (texts, _, (details,)) in zip(letters, chunk, strict=True):
        prompt, *_, graded, reference = texts
        assert (graded, reference) == ("4", reference_of(prompt))
        assert details == [None, [], "blocked" if letter == "m" else None, "math"]


def reference_of(prompt: str) -> str:
    number = int(prompt.partition("What is ")[2].split()[0])
    return f"Twice {number} it is.\n#### {2 * number}"


def test_a_run_without_references_has_a_page_without_them(tmp_path: Path) -> None:
    done = finished(tmp_path, {})
    done.folder.folder.delete(REFERENCES)
    texts, _, _ = unpacked(pack_graded(done.folder, done.metrics).chunks[0])[0]
    assert texts[-2:] == ["4", None]


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ({"gold": "42"}, "42"),
        ({"any_of": "Paris"}, "Paris"),
        (
            {"test_list": ["assert f(1) == 2", "assert f(2) == 3"], "test_imports": []},
            "assert f(1) == 2\nassert f(2) == 3",
        ),
        ({"prompt": "def f():", "entry_point": "f", "test": "def check(f): ..."}, "def check(f): ..."),
        ({"public_test_cases": "[]", "private_test_cases": "x" * 10_000}, None),
        ({"test": "x" * 5_000}, "x" * 4_000 + "…"),
    ],
)
def test_a_reference_is_shown_where_a_person_can_read_it(reference: dict[str, object], shown: str | None) -> None:
    assert shown_reference(Problem("1", "?", reference)) == shown
