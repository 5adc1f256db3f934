"""The page of a judge study: agreement with the labels, the plot, the study, every labelled response."""

from safechain_ray.metrics.agreement import JudgeStudy
from safechain_ray.report.document import printable
from safechain_ray.report.html.browser import browser_section, with_absent_rows
from safechain_ray.report.html.definitions import OF_VERDICTS, with_glossary
from safechain_ray.report.html.elements import Section, assemble, caveats_and_notes, html_table, join
from safechain_ray.report.html.facts import run_facts
from safechain_ray.report.html.figure import figure
from safechain_ray.report.html.samples import PackedSamples
from safechain_ray.report.judge_study import study_document
from safechain_ray.report.labels import percent
from safechain_ray.report.plots.judge_study import study_plot
from safechain_ray.runs.run_file import RunFile

COMPLETE = "Every labelled response has a verdict of every judge."


def study_page(study: JudgeStudy, run: RunFile, samples: PackedSamples) -> str:
    """`run` is the content of run.json."""
    document = with_absent_rows(study_document(study), study.rows, samples)
    missing = sum(rater.agreement.missing for rater in study.raters if not rater.is_vote)
    warning = f"{missing:,} verdicts are missing: their rows are left out of the figures of their judge."
    sections = [
        Section("first", "Warnings and notes", caveats_and_notes(document, warning if missing else COMPLETE)),
        Section("figures", "Figures", join(map(html_table, document.tables))),
        Section("plots", "Plots", figure(study_plot(study))),
        Section("run", "The study", run_facts(run)),
        browser_section(samples, "labelled responses"),
    ]
    judges = sum(not rater.is_vote for rater in study.raters)
    differing = f"a judge differs from the label or has no verdict on {study.disagreements:,}"
    line = (
        f"{study.rows:,} labelled responses · {percent(study.unsafe / study.rows)}% of them unsafe · {judges} "
        f"judge{'s' if judges > 1 else ''} · {differing}"
    )
    title = f"Judges against the labels of {printable(study.data)}"
    return assemble(title, line, with_glossary(sections, OF_VERDICTS), samples)
