"""What a judge study leaves for readers beside its study.json: a table in Markdown, and the picture twice."""

from safechain_ray.metrics.judge_study import JudgeStudy
from safechain_ray.report.judge_study import study_document
from safechain_ray.report.markdown import markdown
from safechain_ray.report.study_plot import draw
from safechain_ray.storage import Folder


def write_study(study: JudgeStudy, folder: Folder) -> None:
    """study.md, study.svg and study.png, into the study's folder."""
    folder.write_text("study.md", markdown(study_document(study)))
    folder.write_bytes("study.svg", draw(study, "svg"))
    folder.write_bytes("study.png", draw(study, "png"))
