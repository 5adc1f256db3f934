"""The code in an answer: which block is meant, and what is taken where there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.benchmarks.extraction import defines, extract_code, fenced_blocks


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("So:\n```python\nx = 1\n```\nDone.", "x = 1"),
        ("```python\nx = 1\n```\nBetter:\n```Python\nx = 2\n```", "x = 2"),
        ("```py\nx = 1\n```\nIts output:\n```\n1\n```", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("```text\nno code\n```\n```\nx = 1\n```", "x = 1"),
        ("```python\nx = 1", "x = 1"),
        ("x = 1\ny = 2", "x = 1\ny = 2"),
        ("1. Like this:\n   ```python\n   if x:\n       y = 1\n   ```", "if x:\n    y = 1"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''"),
        ("~~~python\nx = 1\n~~~", "x = 1"),
        ("```python\n    return 1\n```", "    return 1"),
        ("```python title='a'\nx = 1\n```", "x = 1"),
        ("```python\nx = 1\n```\n```python\n\n```", "x = 1"),
    ],
)
def test_the_last_block_of_python_is_the_code(answer: str, code: str):
    assert extract_code(answer) == code


@pytest.mark.parametrize("answer", ["", "  \n", "```java\nint x;\n```"])
def test_an_answer_without_code_has_none(answer: str):
    assert extract_code(answer) is None


def test_the_block_that_defines_the_function_goes_before_an_example_of_its_use():
    answer = "```python\ndef f(x):\n    return x\n```\nUse it:\n```python\nprint(f(1))\n```"
    assert extract_code(answer, defining="f") == "def f(x):\n    return x"
    assert extract_code(answer, defining="g") == "print(f(1))"


@pytest.mark.parametrize(
    "code", ["def f(x): ...", "class A:\n    def f(self): ...", "async def f(): ...", "class f: ..."]
)
def test_a_definition_is_found_wherever_it_stands(code: str):
    assert defines(code, "f")
    assert not defines(code, "ff")


@pytest.mark.parametrize("code", ["# def f(x)", "x = 'def f(x)'", "undef f", "default f"])
def test_a_mention_is_no_definition(code: str):
    assert not defines(code, "f")


@given(st.text(alphabet="`~ \nabpython", max_size=60))
def test_any_text_has_an_answer(text: str):
    extract_code(text)


@given(st.lists(st.text(alphabet="ab =\t", max_size=10), min_size=1).filter(lambda lines: any(map(str.strip, lines))))
def test_what_is_fenced_comes_back(lines: list[str]):
    code = "\n".join(lines)
    assert [block.text for block in fenced_blocks(f"text\n```python\n{code}\n```\ntext")] == [code]
