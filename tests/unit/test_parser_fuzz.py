"""Every parser of foreign text gives a value, or raises an error that it names: nothing else, for any text.

`make test` tries a few hundred texts on each parser, `make test-long` 100,000.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safechain_ray.benchmarks.examination import read_tests
from safechain_ray.benchmarks.extraction import extract_code
from safechain_ray.benchmarks.math_grader import final_answer
from safechain_ray.cli.sweep import when
from safechain_ray.datasets.json_files import parse_delimited, parse_json, parse_json_lines
from safechain_ray.datasets.labelled import read_label
from safechain_ray.datasets.layouts import split_thought
from safechain_ray.datasets.records import BrokenFileError
from safechain_ray.decoding.base import split_opening, split_response
from safechain_ray.engines.api_answers import UnusableAnswerError, count_choices, read_answer, read_logprobs, texts
from safechain_ray.engines.api_faults import RefusesAllError, read_status
from safechain_ray.engines.api_wire import read_usage
from safechain_ray.errors import InputError, RowError
from safechain_ray.judges.llama_guard import read_output
from safechain_ray.judges.refusal_match import read_phrases, refusal_match
from safechain_ray.likely_keys import without_likely_keys
from safechain_ray.storage import redact
from safechain_ray.storage.records import parse_json as parse_record
from safechain_ray.types import Completion, ThinkingTags
from safechain_ray.types.known_secrets import KnownSecrets
from safechain_ray.types.yaml_text import load_yaml

TAGS = ThinkingTags(open="<think>", close="</think>")
PHRASES = read_phrases()
SECRETS = KnownSecrets.of("sk-secret-4711-0815")
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)

COMMON = (
    "a",
    " ",
    "\n",
    "\r",
    "\t",
    "\0",
    "0",
    "-1",
    "1e400",
    "é",
    "中",
    "\u200b",
    "\u2028",
    "\ufeff",
    "\ud800",
    "\\",
    '"',
    "'",
)


def completion(text: str) -> Completion:
    return Completion(text, 1, 1, "stop", logprobs=({text[:9]: -0.1, "safe": -1.0},))


@dataclass(frozen=True)
class Parser:
    name: str
    read: Callable[[Any], object]
    raises: tuple[type[Exception], ...] = ()
    pieces: tuple[str, ...] = field(default=())


def encoded(read: Callable[[bytes], object]) -> Callable[[str], object]:
    return lambda text: read(text.encode("utf-8", "surrogatepass"))


OF_TEXT = (
    Parser(
        "YAML",
        load_yaml,
        (yaml.YAMLError, ValueError),
        ("- ", ": ", "{", "}", "[", "]", "&x ", "*x", "!t ", "#", "<<", "1_0", "0x1f"),
    ),
    Parser(
        "record", encoded(parse_record), (ValueError,), ("{", "}", "[", "]", ":", ",", "NaN", "true", "null", '"k"')
    ),
    Parser(
        "CSV",
        encoded(lambda data: parse_delimited(data, None)),
        (BrokenFileError,),
        (",", ";", "prompt", "sep=;", '""', "\r\n"),
    ),
    Parser(
        "JSON",
        encoded(lambda data: parse_json(data, None)),
        (BrokenFileError,),
        ("{", "}", "[", "]", ":", ",", '"prompt"', "NaN"),
    ),
    Parser(
        "JSON Lines",
        encoded(lambda data: parse_json_lines(data, None)),
        (BrokenFileError,),
        ('{"prompt":', '"x"}', "}", ",", "null"),
    ),
    Parser("response", lambda text: split_response(text, TAGS), (), ("<think>", "</think>", "<", "think")),
    Parser("thought", lambda text: split_thought(text, TAGS), (ValueError,), ("<think>", "</think>", "<", "think")),
    Parser("opening", lambda text: split_opening(text, TAGS), (), ("<think>", "</think>", "\n\n")),
    Parser(
        "guard",
        lambda text: read_output("guard", "response", completion(text)),
        (),
        ("safe", "unsafe", "S1", "S99", ",", ".", ":"),
    ),
    Parser("refusal", lambda text: refusal_match(text, PHRASES), (), ("I cannot", "I'm sorry", "As an AI", "’")),
    Parser("label", read_label, (), ("un", "safe", "harm", "ful", "not ", "true", "1", "_")),
    Parser("math answer", final_answer, (), ("\\boxed{", "{", "}", "answer is", "$", "####", ".")),
    Parser("code", extract_code, (), ("```", "```python", "def f", "(", ")", ":", "import ", "</think>")),
    Parser(
        "contest tests",
        lambda text: read_tests({"public_test_cases": text, "private_test_cases": text}),
        (InputError,),
        ("[", "]", "{", "}", '"input":', '"output":', '"testtype":"stdin"', ",", "eJw"),
    ),
    Parser(
        "deadline",
        lambda text: when(text, NOW),
        (ValueError,),
        ("+", "h", "m", ":", "07", "2026-12-31", "T", "Z", "9" * 12),
    ),
    Parser("URI", redact, (), ("s3://", "https://", "@", ":", "?", "#", "/", "key=", "pw")),
    Parser(
        "secret",
        SECRETS.removed_from_message,
        (),
        ("sk-secret", "-4711", "-0815", "%2D", "\\u002d", "&#45;", "<think>", "c2stc2Vj"),
    ),
    Parser("key", without_likely_keys, (), ("sk-", "hf_", "AKIA", "abc123", "=", ".")),
)

SERVER_ERRORS = (RowError, UnusableAnswerError, RefusesAllError)

OF_TREES = (
    Parser("answer", lambda body: read_answer(body, 0), SERVER_ERRORS),
    Parser("choices", count_choices),
    Parser("texts", texts),
    Parser("log-probabilities", lambda body: read_logprobs(body, 0, 3, 2), SERVER_ERRORS),
    Parser("usage", read_usage),
    Parser("error", lambda body: read_status(500, body, {}, 0.0), SERVER_ERRORS),
    Parser("refusal of a request", lambda body: read_status(400, body, {}, 0.0), SERVER_ERRORS),
)

KEYS = [
    "choices",
    "message",
    "content",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "refusal",
    "finish_reason",
    "error",
    "code",
    "type",
    "param",
    "usage",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "completion_tokens_details",
    "reasoning_tokens",
    "cost",
    "logprobs",
    "top_logprobs",
    "token",
    "logprob",
    "bytes",
    "text",
    "summary",
    "metadata",
    "raw",
    "innererror",
    "content_filter_result",
    "filtered",
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["stop", "length", "", "\ud800", "content_filter"])
)
trees = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(KEYS), below, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(KEYS), trees, max_size=4)

QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
SHORT = settings(max_examples=4 * settings().max_examples, suppress_health_check=QUIET, deadline=None)
LONG = settings(max_examples=100_000, suppress_health_check=QUIET, deadline=None)


def texts_of(*parsers: Parser) -> st.SearchStrategy[str]:
    pieces = st.sampled_from([*COMMON, *(piece for parser in parsers for piece in parser.pieces)])
    return st.lists(pieces | st.text(max_size=4), max_size=12).map("".join)


def try_all(parsers: Sequence[Parser], values: st.SearchStrategy[Any], how_many: settings) -> None:
    @how_many
    @given(values)
    def check(value: Any) -> None:
        for parser in parsers:
            try:
                parser.read(value)
            except parser.raises:
                continue
            except Exception as error:
                error.add_note(f"{parser.name}: {value!r}")
                raise

    check()


@pytest.mark.parametrize("parser", OF_TEXT, ids=lambda parser: parser.name)
def test_no_text_gives_another_error(parser: Parser) -> None:
    try_all((parser,), texts_of(parser), SHORT)


def test_no_answer_of_a_server_gives_another_error() -> None:
    try_all(OF_TREES, bodies, SHORT)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_none_of_100000_texts_gives_another_error_in_any_parser() -> None:
    try_all(OF_TEXT, texts_of(*OF_TEXT), LONG)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_none_of_100000_answers_of_a_server_gives_another_error() -> None:
    try_all(OF_TREES, bodies, LONG)
