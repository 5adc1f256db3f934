"""LiveCodeBench's storage of tests and its comparison of output."""

import base64
import json
import os
import pickle
import re
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.benchmarks import examination
from safechain_ray.benchmarks.examination import ContestTest, difference, read_tests
from safechain_ray.errors import InputError


def packed(value: object) -> str:
    """As the published files hold private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def reference(private: str, **others: str) -> dict[str, Any]:
    public = json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}])
    return {"public_test_cases": public, "private_test_cases": private, "metadata": "{}", "starter_code": "", **others}


PRIVATE = json.dumps([{"input": "3", "output": "4", "testtype": "stdin"}])


@pytest.mark.parametrize("private", [PRIVATE, packed(PRIVATE)])
def test_public_tests_come_first_then_private_ones_plain_or_packed(private: str):
    tests = read_tests(reference(private))
    assert tests.tests == (ContestTest("1\n", "2\n"), ContestTest("3", "4"))
    assert tests.function is None


def test_a_problem_with_a_function_names_it():
    assert read_tests(reference(PRIVATE, metadata='{"func_name": "minimumCost"}')).function == "minimumCost"


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/unpickled",)


@pytest.mark.parametrize("value", [Runs(), [PRIVATE], {"a": Runs()}, 3, b"x", os.getcwd])
def test_a_pickle_of_anything_but_a_text_is_refused_and_runs_nothing(value: object):
    with pytest.raises(InputError, match=r"can't be read \(UnpicklingError"):
        read_tests(reference(packed(value)))


@pytest.mark.parametrize(
    "broken",
    [
        {"private_test_cases": "no base64!"},
        {"private_test_cases": base64.b64encode(b"no zlib").decode()},
        {"private_test_cases": base64.b64encode(zlib.compress(b"")).decode()},
        {"public_test_cases": "[{"},
        {"public_test_cases": '[{"input": "1"}]'},
        {"public_test_cases": "3"},
        {"metadata": "[]"},
    ],
)
def test_tests_that_can_not_be_read_are_told(broken: dict[str, str]):
    with pytest.raises(InputError, match=r"can't be read .*LiveCodeBench's format"):
        read_tests({**reference(PRIVATE), **broken})


def test_private_tests_that_unpack_to_too_much_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(examination, "LONGEST_TESTS", 2**20)
    assert read_tests(reference(packed(PRIVATE))).tests
    with pytest.raises(InputError, match="they unpack to more than 1 MiB"):
        read_tests(reference(packed("[" + " " * 2**20 + "]")))


def test_a_problem_without_tests_is_told():
    with pytest.raises(InputError, match="no tests"):
        read_tests(reference("[]", public_test_cases="[]"))


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("1 2\n3", "1 2\n3\n"),
        ("  1 2  \n3\t\n\n\n", "1 2\n3"),
        ("1 2\r\n3", "1 2\n3"),
        ("0.50", "0.5"),
        ("1e2 -0", "100 0.0"),
        ("1   2", "1 2"),
        ("", "\n"),
        ("50000000000000001", "50000000000000001.0"),
        ("+5 .5 5.", "5 0.5 5"),
        ("1\t2", "1 2.0"),
        ("1E2", "100"),
        ("-INF", "-inf"),
    ],
)
def test_outputs_that_count_as_the_same(printed: str, expected: str):
    assert difference(printed, expected) is None


@pytest.mark.parametrize(
    ("printed", "expected", "said"),
    [
        ("1\n\n2", "1\n2", "3 lines instead of 2"),
        ("", "1\n2", "1 lines instead of 2"),
        ("1\n3", "1\n2", "line 2 is '3' instead of '2'"),
        ("Yes", "YES", "line 1 is 'Yes' instead of 'YES'"),
        ("a  b", "a b", "line 1 is 'a  b' instead of 'a b'"),
        ("50000000000000000", "50000000000000001", "line 1 is '50000000000000000' instead of '50000000000000001'"),
        ("0.3333333", "0.33333333", "line 1 is '0.3333333' instead of '0.33333333'"),
        ("nan", "nan 1", "line 1 is 'nan' instead of 'nan 1'"),
        ("snan", "1", "line 1 is 'snan' instead of '1'"),
        ("x" * 1000, "y", f"line 1 is {'x' * 60!r} instead of 'y'"),
    ],
)
def test_outputs_that_differ(printed: str, expected: str, said: str):
    assert difference(printed, expected) == said


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("1_0", "10"),
        ("1_000.5", "1000.5"),
        ("１０", "10"),
        ("١٠", "10"),
        ("१०", "10"),
        ("𝟏𝟎", "10"),
        ("1e１", "10"),
        ("−5", "-5"),
        ("1\u30002", "1 2"),
        ("1\xa02", "1 2"),
        ("1,000", "1000"),
        ("0x10", "16"),
        ("1e", "1"),
        ("10", "1_0"),
        ("１", "1"),
        ("nan", "NaN"),
    ],
)
def test_only_numbers_written_in_ascii_are_compared_as_numbers(printed: str, expected: str):
    assert difference(printed, expected) is not None
    assert difference(expected, expected) is None


@given(st.text(alphabet="0123456789_.eE+-１٣१𝟗 \u3000²", min_size=1, max_size=8), st.integers(0, 30))
def test_what_counts_as_a_number_is_plain_ascii(printed: str, number: int):
    if difference(printed, str(number)) is None:
        assert re.fullmatch(r"[0-9.eE+-]+", printed.strip())
        assert float(printed) == number


@pytest.mark.parametrize(
    "pickled", [b"X\x02\0\0\0[]r\xff\xff\xff\xff.", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f."]
)
def test_a_short_pickle_that_asks_for_much_memory_is_refused(pickled: bytes):
    with pytest.raises(InputError, match="can't be read"):
        read_tests(reference(base64.b64encode(zlib.compress(pickled)).decode()))


def test_deep_nesting_is_refused_as_any_other_text():
    with pytest.raises(InputError, match=r"can't be read \(RecursionError"):
        read_tests(reference(PRIVATE) | {"public_test_cases": "[" * 100_000})
