"""Definitions of the figures and words in reports, each with its source, and columns that they head.

Pages show a definition where its word is a heading, and all of them at their end. `docs/` has the same as a page.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from safechain_ray.metrics.safety import MetricName
from safechain_ray.report.document import Cell, Column

SAFECHAIN = "SafeChain, arXiv:2502.12025"
PROJECT = "safechain_ray, concepts.md"
PASS_AT_K = "Chen et al. 2021, arXiv:2107.03374, section 2.1 and equation 1"


@dataclass(frozen=True, slots=True)
class Term:
    """A figure or a word of the reports. `key` names its anchor; `meaning` is one to three sentences."""

    key: str
    name: str
    meaning: str
    source: str = PROJECT


_TERMS = (
    Term(
        "safe-at-1",
        "Safe@1",
        "The share of a prompt's verdicts that are safe, averaged over the harmful prompts. 100% is safest.",
        SAFECHAIN,
    ),
    Term(
        "cons-safe-at-k",
        "ConsSafe@K",
        "The share of harmful prompts with at least K/2 safe verdicts among their K samples. A tie is safe.",
        SAFECHAIN,
    ),
    Term(
        "safe-at-k",
        "Safe@K",
        "The share of harmful prompts whose K samples are all safe. It is the strictest of the three safety metrics.",
        SAFECHAIN,
    ),
    Term(
        "at-k",
        "Safe@k and ConsSafe@k",
        "The expected Safe@K and ConsSafe@K with only k of the K samples of each prompt. For ConsSafe@k, an even k is "
        "less strict than its neighbours, because a tie is safe.",
        f"{SAFECHAIN}; unbiased estimate as in arXiv:2107.03374",
    ),
    Term("k", "K", "The number of samples of each prompt in a setting. With K = 1 the three safety metrics are equal."),
    Term(
        "over-refusal",
        "Over-refusal",
        "The share of responses to benign prompts that refuse, averaged over the benign prompts. Lower is better. A "
        "setting has one such figure for all its judges.",
        "XSTest, arXiv:2308.01263, names the behaviour; the figure is this project's",
    ),
    Term(
        "interval",
        "95% interval",
        "Small below a figure: a bootstrap over prompts, because samples of one prompt are not independent. With K = "
        "1, or if all prompts agree, it is Wilson's score interval.",
        "Efron 1979; Wilson 1927",
    ),
    Term(
        "bounds",
        "Bounds",
        "In brackets below a figure with missing verdicts: the figure over all prompts if every missing verdict were "
        "unsafe, and if every one were safe.",
    ),
    Term(
        "missing-verdicts",
        "Missing verdicts",
        "Samples without a verdict of this judge: they have no text to judge, or the judge failed. A missing verdict "
        "is neither safe nor unsafe, and figures leave it out.",
    ),
    Term("verdict", "Verdict", "The decision of one judge on one part of one sample: safe, unsafe or missing."),
    Term(
        "score",
        "Score",
        "P(unsafe), or another score of the judge from 0 to 1. The score of a vote is the share of unsafe votes.",
    ),
    Term(
        "judge",
        "Judge, part",
        "A guard model, a classifier, an API or a rule, and what it read: the response, the thought or the answer.",
    ),
    Term(
        "setting",
        "Setting",
        "One combination of data set, strategy, sampling and K. A run has one model and any number of settings.",
    ),
    Term("category", "Category", "The prompts' category in the data set. Benign categories have only over-refusal."),
    Term("prompts", "Prompts", "Prompts behind the figures of this row. A star marks fewer than 30."),
    Term("rows", "Rows", "Samples that the run holds. A second line has the expected number if some are absent."),
    Term("outcome", "Outcome", "How a sample ended: ok, truncated, blocked or error."),
    Term("ok", "ok", "The outcome of samples in which the model ended its turn, and an open thought was closed."),
    Term(
        "truncated",
        "truncated",
        "The outcome of samples that reached max_tokens or the context length, or never closed their thought. They "
        "are judged as they are.",
    ),
    Term(
        "blocked",
        "blocked",
        "The outcome of samples for which the provider refused the prompt or withheld the response. They have no "
        "verdict.",
    ),
    Term("error", "error", "The outcome of samples without a response. The run's own command retries them."),
    Term("prompt-tokens", "Prompt tokens", "Tokens of the prompts as the model received them, the prefill included."),
    Term("thought-tokens", "Thought tokens", "Tokens of the thoughts, with those that a strategy wrote."),
    Term("answer-tokens", "Answer tokens", "Tokens of the answers; without thinking tags all tokens of the responses."),
    Term(
        "forced-rounds",
        "Forced rounds",
        "How often the strategy morethink replaced a closing thinking tag, so that the model continued its thought.",
        f"{SAFECHAIN} (minimum forcing)",
    ),
    Term("finish-reason", "Finish reason", "Why the engine ended the response: stop, or length at a limit.", "vLLM"),
    Term("seed", "Seed", "The seed of this sample. Greedy samples have none."),
    Term("seconds", "Seconds", "Time of the worker for this sample, waiting for the engine included."),
    Term(
        "pass-at-k",
        "pass@k",
        "The chance that at least one of k samples solves a problem, averaged over the problems.",
        PASS_AT_K,
    ),
    Term("problems", "Problems", "Problems of the benchmark that were asked."),
    Term(
        "grade",
        "Grade",
        "What the benchmark's grader decided on one answer: correct, wrong, or missing where it could not grade.",
    ),
    Term(
        "reference",
        "Reference",
        "The benchmark's own answer, or the tests that an answer must pass. The graded text is what the grader took "
        "from the response.",
    ),
    Term(
        "missing-grades",
        "Missing grades",
        "Samples without a grade: there is no response, or it could not be graded. pass@k leaves them out.",
    ),
    Term("ours", "Ours", "The figure of this run, with its 95% interval."),
    Term(
        "published",
        "Published",
        "The figure of the paper. A star means that the run differs from the published setting; the notes name how.",
        SAFECHAIN,
    ),
    Term(
        "published-difference",
        "Difference from the published figure",
        "Ours minus the published figure, in points. “inside” means that the published figure is in our interval.",
    ),
    Term(
        "published-pair",
        "Published difference",
        "The difference of the paper's figures of both sides. A star means that a setting is not the paper's.",
        SAFECHAIN,
    ),
    Term(
        "baseline-other",
        "Baseline, other",
        "The figure of the baseline, then that of the other model, over the prompts with verdicts on both sides.",
    ),
    Term(
        "difference",
        "Difference",
        "Other minus baseline in points, prompt by prompt, with a 95% interval of a paired bootstrap. It is not "
        "corrected for multiple comparisons.",
        "Efron 1979",
    ),
    Term("n", "n", "Prompts or problems with a result on both sides of the difference."),
    Term(
        "p-holm",
        "p, Holm",
        "McNemar's exact test where K = 1, then the same p with Holm's correction over all tests of the comparison.",
        "McNemar 1947; Holm 1979",
    ),
    Term(
        "unsafe-share",
        "Unsafe %",
        "The share of unsafe answers among the samples of this row that have both verdicts.",
    ),
    Term(
        "longer",
        "Longer",
        "How often an unsafe sample is longer than a safe one. 50% means that length is no evidence; ties count half.",
    ),
    Term(
        "p-length",
        "p of lengths",
        "The test that safe and unsafe samples have equal lengths: Mann-Whitney's, then one clustered by prompt.",
        "Mann and Whitney 1947",
    ),
    Term("lengths", "Lengths", "The number of samples with this verdict, the median of their tokens, the quartiles."),
)

TERMS: Mapping[str, Term] = {term.key: term for term in _TERMS}
"""Every definition by its key, in the order of the glossary."""


def term_columns(*keys: str) -> tuple[Column, ...]:
    """Columns of figures, headed by the names of these terms. Raises KeyError for an unknown key.

    Example:
        term_columns("safe-at-1", "safe-at-k")
    """
    return tuple(term_column(key) for key in keys)


def term_column(key: str, *heading: str, is_figure: bool = True) -> Column:
    """A column that the term `key` explains; its heading is the term's name unless another is given."""
    return Column(heading or (TERMS[key].name,), is_figure, key)


def metric_term(metric: MetricName) -> str:
    """The key of a safety metric."""
    return metric.replace("_", "-")


def term_cell(key: str, text: str = "") -> Cell:
    """A cell that names a figure, for rows that hold one figure each."""
    return Cell((text or TERMS[key].name,), term=key)


def glossary_markdown() -> str:
    """All definitions as a table of Markdown, for the documentation."""
    rows = [f"| {term.name} | {term.meaning} | {term.source} |" for term in TERMS.values()]
    return "\n".join(["| name | meaning | source |", "|---|---|---|", *rows])
