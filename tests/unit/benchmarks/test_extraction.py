"""Code extraction from answers with and without fenced blocks."""

import time
import tracemalloc

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


LONE = [
    # The fence closes what is before it: the answer was begun as a block, or its opening fence is missing.
    ("def f(x):\n    return x\n```", "def f(x):\n    return x"),
    ("def f(x):\n    return x\n```\n", "def f(x):\n    return x"),
    ("def f(x):\n    return x\n```\nThis returns its argument.", "def f(x):\n    return x"),
    ("n = int(input())\nprint(n)\n```\nIt reads a number and prints it:\nas asked.", "n = int(input())\nprint(n)"),
    ("    return x\n```\nDone.", "    return x"),
    ("def f(x):\n    return x\n~~~\nThis returns its argument.", "def f(x):\n    return x"),
    # Prose in front of the code is left out.
    ("Here is code:\n\ndef f(x):\n    return x\n```\nThat returns x.", "def f(x):\n    return x"),
    ("Here is code:\n@cache\ndef f(x):\n    return x\n```", "@cache\ndef f(x):\n    return x"),
    ("Here is code:\n\nimport re\n\nclass A:\n    x = 1\n```", "import re\n\nclass A:\n    x = 1"),
    ("It's short.\nx = 1\nprint(x)\n```", "x = 1\nprint(x)"),
    ("with this (short) code:\n\ndef f(x):\n    return x\n```", "def f(x):\n    return x"),
    ("Here is code:\ndef f(x):\n    return (x\n```", "def f(x):\n    return (x"),
    ("# Adds one.\ny = x + 1\nreturn y\n```", "# Adds one.\ny = x + 1\nreturn y"),
    ("    # Adds one.\n    return x + 1\n```", "    # Adds one.\n    return x + 1"),
    ("y = x + 1\n    return y\n```", "y = x + 1\n    return y"),
    ('''    """Doc:\n    x = 1\n    """\n    return x\n```''', '''    """Doc:\n    x = 1\n    """\n    return x'''),
    # It opens what follows, and the end is cut off.
    ("So:\n```\ndef f(x):\n    return x", "def f(x):\n    return x"),
    ("So we read it.\n```\nn = int(input())\nprint(n", "n = int(input())\nprint(n"),
    ("So:\n~~~\nx = 1", "x = 1"),
    # Prose on both sides is no code.
    ("I can not do this.\n```", None),
    ("I can not do this.\n```\nSorry for that.", None),
    ("Title\n~~~~~\nSome text, for example: this.", None),
    ("```\nI am sorry, but no.", None),
    ("```", None),
]


@pytest.mark.parametrize(("answer", "code"), LONE)
def test_a_single_fence_has_the_code_on_the_side_with_python_and_makes_no_prose_into_code(
    answer: str, code: str | None
):
    assert extract_code(answer) == code


def test_beside_a_single_fence_the_side_that_defines_the_function_is_the_code():
    answer = "def f(x):\n    return x\n```\nprint(f(1))"
    assert extract_code(answer, defining="f") == "def f(x):\n    return x"
    assert extract_code(answer, defining="g") == extract_code(answer) == "print(f(1))"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        # The last closed block goes before one that is cut off.
        ("```python\nx = 1\n```\nUse it:\n```python\nprint(", "x = 1"),
        ("```\nx = 1\n```\nUse it:\n```\nprint(", "x = 1"),
        # A closing fence too many, and an opening one that was never closed, hide no block behind them.
        ("x = 0\n```\nBetter:\n```python\nx = 1\n```", "x = 1"),
        ("```python\nx = 0\nNo, wait.\n```python\nx = 1\n```", "x = 1"),
        ("```markdown\nThus:\n```python\nx = 1\n```\n```", "x = 1"),
        # Fences of strings belong to them.
        ('```python\ns = "```"\nx = 1\n```', 's = "```"\nx = 1'),
        ("```python\ns = '''\n```\n'''\nx = 1\n```", "s = '''\n```\n'''\nx = 1"),
        (
            '```python\ndef f():\n    """Use:\n    ```python\n    f()\n    ```\n    """\n    return 1\n```\nSo.',
            'def f():\n    """Use:\n    ```python\n    f()\n    ```\n    """\n    return 1',
        ),
        ("~~~python\ns = '''\n```\n'''\n~~~", "s = '''\n```\n'''"),
        ("```python\nx = 1  # it's ''' here\n```\n```text\nno\n```", "x = 1  # it's ''' here"),
        # A string that never ends does not take the fence with it.
        ("```python\ns = '''\n```\nSo it is.", "s = '''"),
        ("```python\ns = '''\n```\nOr:\n```python\nx = 1\n```\nSo.", "x = 1"),
        # Backticks around a line are no fence.
        ("Use ```x = 1``` here:\n```python\ny = 2\n```", "y = 2"),
        ("```x = 1```\n```python\ny = 2\n```", "y = 2"),
        ("```python\r\nx = 1\r\ny = 2\r\n```\r\n", "x = 1\ny = 2"),
        ("```python\ns = '\u2028'\n```", "s = '\u2028'"),
    ],
)
def test_the_last_closed_block_is_found_past_what_models_do_to_fences(answer: str, code: str):
    assert extract_code(answer) == code


@pytest.mark.parametrize(
    "piece", ["```\n", "```python\n", "'''\n```\n", "```\n'''\n", "~~~\n```\n", "`", "'", "\\", '\\"']
)
def test_the_longest_answers_take_no_time_worth_mentioning(piece: str):
    text = "```python\n" + piece * (100_000 // len(piece))
    started = time.process_time()
    extract_code(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("line", ["x = (", "x = 1\n", "(" * 1000, "x = " + "-" * 5000 + "1\n", "for a in b: it is\n"])
def test_prose_in_front_of_a_lone_fence_is_found_in_no_time_worth_mentioning(line: str):
    text = "So it is:\n" + line * (100_000 // len(line)) + "\nx = 1\n```"
    started = time.process_time()
    extract_code(text)
    assert time.process_time() - started < 10


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


def test_an_answer_of_fences_alone_takes_little_memory():
    """Each block once held a copy of all that is before it: gigabytes for 200 kB."""
    tracemalloc.start()
    try:
        extract_code("```\n" * 50_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * 2**20
