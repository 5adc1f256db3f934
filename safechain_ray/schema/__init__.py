"""The project's words as frozen records: prompts, settings, samples, verdicts, and the calls that engines answer."""

from safechain_ray.schema.calls import (
    Completion,
    CountTokens,
    Engine,
    Generate,
    Message,
    Request,
    ThinkingTags,
)
from safechain_ray.schema.demonstrations import Demonstration, Exchange
from safechain_ray.schema.samples import (
    NO_FAILURE,
    Prompt,
    Sample,
    Verdict,
)
from safechain_ray.schema.settings import (
    Sampling,
    Setting,
    StrategySpec,
    short_hash,
)
from safechain_ray.schema.strict_numbers import StrictNumbers
from safechain_ray.schema.tables import (
    PIECES_SCHEMA,
    SAMPLES_SCHEMA,
    VERDICT_TYPE,
    VERDICTS_SCHEMA,
    as_samples,
    conformed,
    only,
    samples_from_table,
    samples_table,
    verdicts_table,
    with_verdicts,
    without_verdicts,
)
from safechain_ray.schema.thinking import (
    TagForm,
    TaggedText,
    read_tags,
    without_tags,
)
from safechain_ray.schema.words import (
    LARGEST_INT32,
    PLAIN_URL,
    FinishReason,
    KeepRule,
    Outcome,
    Part,
    SpecialTokens,
    VoteRule,
)
from safechain_ray.schema.zero_width import ZERO_WIDTH_SPACE, broken_up

__all__ = [
    "LARGEST_INT32",
    "NO_FAILURE",
    "PIECES_SCHEMA",
    "PLAIN_URL",
    "SAMPLES_SCHEMA",
    "VERDICTS_SCHEMA",
    "VERDICT_TYPE",
    "ZERO_WIDTH_SPACE",
    "Completion",
    "CountTokens",
    "Demonstration",
    "Engine",
    "Exchange",
    "FinishReason",
    "Generate",
    "KeepRule",
    "Message",
    "Outcome",
    "Part",
    "Prompt",
    "Request",
    "Sample",
    "Sampling",
    "Setting",
    "SpecialTokens",
    "StrategySpec",
    "StrictNumbers",
    "TagForm",
    "TaggedText",
    "ThinkingTags",
    "Verdict",
    "VoteRule",
    "as_samples",
    "broken_up",
    "conformed",
    "only",
    "read_tags",
    "samples_from_table",
    "samples_table",
    "short_hash",
    "verdicts_table",
    "with_verdicts",
    "without_tags",
    "without_verdicts",
]
