"""Code extraction of EvalPlus (evalplus/sanitize.py), run inside the sandbox.

`sanitizing_program` returns a Python program that finds the code and runs it, so that text of a model is parsed only
inside the sandbox. This file runs there too and needs only the standard library.

Known difference: EvalPlus parses with tree-sitter, this file with `ast`. An assignment to several names at once counts
as a definition only if its right side is a name.
"""

import ast
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from importlib.resources import files

SHORTEST = 2
"""Minimum lines of a run in EvalPlus."""


def sanitizing_program(generated: str, entry_point: str | None) -> str:
    """A program that runs the code in `generated` that `entry_point` needs. Tabs are four blanks, as in EvalPlus."""
    source = files(__package__).joinpath("evalplus_code.py").read_text(encoding="utf-8")
    return (
        "def _compiled():\n"
        "    names = {'__name__': 'evalplus_code', '__package__': None}\n"
        f"    exec({source!r}, names)\n"
        f"    code = names['sanitized']({_with_blanks(generated)!r}, {entry_point!r})\n"
        "    return compile(code, 'solution.py', 'exec', dont_inherit=True)\n"
        "exec(_compiled(), globals())\n"
    )


def _with_blanks(text: str) -> str:
    return text.replace("\t", "    ")


def sanitized(text: str, entry_point: str | None) -> str:
    """The imports, and the definitions that `entry_point` needs, in the longest run of lines that is Python.

    Other top-level statements (examples of use, tests) are dropped. If nothing is left, returns the whole run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = longest_code(text)
        if not _parses(code):
            return code
        needed = [ast.get_source_segment(code, node) or "" for node in _needed(ast.parse(code), entry_point)]
    return "\n".join(needed).strip() or code


def longest_code(text: str) -> str:
    """The run of at least two lines that is Python and has the most non-empty lines, the first of several.

    Returns the first line if no run is Python.
    """
    lines = text.split("\n")
    runs = ("\n".join(lines[start:end]) for start, end in _runs(lines))
    return next(filter(_parses, runs), lines[0])


def _runs(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Start and end of every run with a non-empty line, ordered by the number of such lines."""
    filled = [0]
    for line in lines:
        filled.append(filled[-1] + bool(line.strip()))
    for count in range(filled[-1], 0, -1):
        for start in range(len(lines) - SHORTEST + 1):
            first = bisect_left(filled, filled[start] + count, start + SHORTEST)
            for end in range(first, bisect_right(filled, filled[start] + count, start + SHORTEST)):
                yield start, end


def _needed(tree: ast.Module, entry_point: str | None) -> list[ast.stmt]:
    imports: list[ast.stmt] = [
        node
        for node in tree.body
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != "__future__")
    ]
    definitions = dict(_definitions(tree))
    if entry_point is None:
        return [*imports, *definitions.values()]
    reached: set[str] = set()
    waiting = [entry_point]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += _names(definitions[name]) if name in definitions else ()
    return [*imports, *(node for name, node in definitions.items() if name in reached)]


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Name and statement of each top-level definition; the first one for a repeated name.

    As in EvalPlus, functions without `return` and decorated definitions are ignored.
    """
    seen: set[str] = set()
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name, decorator_list=[]):
                pass
            case ast.FunctionDef(name=name, decorator_list=[]) | ast.AsyncFunctionDef(name=name, decorator_list=[]):
                if not any(isinstance(each, ast.Return) for each in ast.walk(node)):
                    continue
            case ast.Assign(targets=[ast.Name(id=name), *_]) | ast.AnnAssign(target=ast.Name(id=name)):
                pass
            case ast.Assign(value=ast.Name(id=name)):
                pass
            case _:
                continue
        if name not in seen:
            seen.add(name)
            yield name, node


def _names(node: ast.AST) -> list[str]:
    """Every identifier in the statement."""
    found = (getattr(each, key, None) for each in ast.walk(node) for key in ("id", "attr", "arg", "name"))
    return [name for name in found if isinstance(name, str)]


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True
