"""Template: any text with slots, sent to an engine or a chat API, and read by a label or on a numeric scale.

The behaviour is in `forms.py` and in the data of the entry (`catalog/judge_forms.py`).
"""

from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.judges.base import Judge
from safechain_ray.judges.forms import build_form
from safechain_ray.types import Engine


def build(entry: JudgeEntry, engine: Engine | None) -> Judge:
    return build_form(entry, engine)
