"""First token: the probabilities of named tokens at the first token of the answer, and a threshold.

The behaviour is in `forms.py` and in the data of the entry (`catalog/judge_forms.py`).
"""

from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.judges.base import Judge
from safechain_ray.judges.forms import build_form
from safechain_ray.types import Engine


def build(entry: JudgeEntry, engine: Engine | None) -> Judge:
    return build_form(entry, engine)
