"""Protocol between tests and tested code: plain values arrive unchanged, and nothing else is transmitted."""

import json
import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.benchmarks.conversation import called_builtins, decode, encode, unbound_names

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
hashable = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.sets(hashable, max_size=3)
    ),
    max_leaves=8,
)


def refuse(value: object) -> int:
    raise AssertionError(f"{value!r} has a plain value")


def through(value: object) -> Any:
    return decode(json.loads(json.dumps(encode(value, refuse))), refuse)


@given(values)
def test_plain_values_arrive_as_they_were(value: object):
    assert repr(_in_order(through(value))) == repr(_in_order(value))


def _in_order(value: object) -> object:
    """Sets and dictionaries as lists: their order may differ."""
    match value:
        case list() | tuple():
            return type(value)(_in_order(item) for item in value)
        case set() | frozenset():
            return [type(value), *sorted(repr(_in_order(item)) for item in value)]
        case dict():
            return ["dict", *sorted(repr((_in_order(key), _in_order(item))) for key, item in value.items())]
    return value


@pytest.mark.parametrize(
    "value",
    [
        Decimal("10"),
        Decimal("-1.50E+30"),
        Decimal("Infinity"),
        Fraction(-1, 3),
        pytest.param(Fraction(1, 2**80), id="a fraction of large integers"),
        date(2024, 2, 29),
        datetime(2024, 2, 29, 12, 30, 0, 5),
        datetime(2024, 2, 29, tzinfo=UTC),
        time(23, 59, 59, 999_999),
        timedelta(days=-1, microseconds=1),
        range(5, -(2**60), -3),
        deque([1, (2,)]),
        deque([1], maxlen=3),
        Counter("aab", z=0),
        OrderedDict([("b", 1), ("a", Decimal(2))]),
        {"b": 1, ("a",): 2}.keys(),
        {"b": [1]}.items(),
    ],
    ids=repr,
)
def test_values_of_the_standard_library_arrive_as_they_were(value: object):
    arrived = through([value])[0]
    assert type(arrived) is type(value)
    assert (arrived, repr(arrived)) == (value, repr(value))


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (defaultdict(int, a=2), {"a": 2}),
        (namedtuple("Point", "x y")(1, Decimal(2)), (1, Decimal(2))),
        (np.float64(0.25) * 2, 0.5),
        (bytearray(b"\xff"), b"\xff"),
        pytest.param(10**5000, 10**5000, id="a long integer"),
        (int, int),
        ({frozenset({1})}, {frozenset({1})}),
    ],
)
def test_what_is_nearly_plain_arrives_as_its_plain_value(value: object, arrives: object):
    assert through(value) == arrives
    assert type(through(value)) is type(arrives)


def test_numbers_that_json_has_no_word_for():
    assert through(math.inf) == math.inf
    assert math.isnan(through(math.nan))


@pytest.mark.parametrize(
    "value", [object(), iter([1]), len, {}.values(), test_numbers_that_json_has_no_word_for, np.arange(3)]
)
def test_everything_else_is_kept_and_numbered(value: object):
    data = encode([value], lambda kept: 7 if kept is value else 0)
    assert decode(data, lambda number: value if number == 7 else None) == [value]


@pytest.mark.parametrize(
    "data",
    [
        *({}, {"type": "len"}, {"type": "sys"}, {"integer": "g"}, {"tuple": 3}, {"object": "1"}, {"bytes": "x"}),
        *({"other": 1}, {"decimal": "ten"}, {"fraction": [1, 0]}, {"fraction": [0.5, "2"]}, {"date": "today"}),
        *({"datetime": "0"}, {"time": "25:00"}, {"timedelta": [10**12, 0, 0]}, {"range": [0, 1, 0]}),
        *({"range": ["0", 1, 1]}, {"deque": [], "most": "3"}, {"keys": [[]]}, {"counter": [[[], 1]]}),
    ],
)
def test_what_is_no_value_of_the_conversation_is_refused(data: object):
    with pytest.raises(ValueError, match=r"."):
        decode(data, refuse)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("assert f(1) == 2", ["f"]),
        ("root = Node(1)\nassert height(root) == math.pi", ["Node", "height", "math"]),
        ("assert set(f([x for x in g])) == {len('a')}", ["f", "g"]),
        ("import math as m\nfrom re import sub\ndef check(c):\n    assert c(m, sub)", []),
        ("try: f()\nexcept ValueError as e: print(e)", ["f"]),
    ],
)
def test_names_that_the_tests_need_of_others(source: str, names: list[str]):
    assert sorted(unbound_names(source)) == sorted(names)


def test_builtins_that_the_tests_call():
    assert called_builtins("assert sum(10, 15) == abs(-6) and x.len(3)") == ["sum", "abs"]
