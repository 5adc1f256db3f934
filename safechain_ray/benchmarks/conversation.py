"""Tests and the code under test, each in a sandbox of its own, talk in plain values over two pipes.

The tests call; the code answers. Its process holds neither the tests nor a result that they expect, so there is nothing
in it to replace, print or end that would make them pass: an answer is right or wrong as a value, compared by Python's
own types on the side of the tests. What has no plain value (an object, an iterator) stays with the code, and the tests
get a `Remote` of it.

This file runs inside both sandboxes, which have nothing but the standard library; `serve` is the code's side and
`examine` that of the tests.
"""

import ast
import builtins
import json
import math
import resource
import sys
import traceback
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from types import CodeType
from typing import IO, Any

PASSED, FAILED, CODE_GONE, TESTS_BROKEN = 0, 10, 11, 12
"""How the side of the tests ends."""

LONGEST_ANSWER = 64 * 2**20
JSON_INTEGERS = 2**53
"""Larger ones go as hexadecimal digits, which have no limit of length."""

Json = Any
Keep = Callable[[Any], int]


def encode(value: Any, keep: Keep) -> Json:
    """A value as JSON that tells Python's plain types apart; `keep` numbers what has no plain value."""
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    match value:
        case None | bool():
            return value
        case str():
            return str(value)
        case int():
            return int(value) if abs(value) < JSON_INTEGERS else {"integer": hex(value)}
        case float():
            return float(value)
        case complex():
            return {"complex": [value.real, value.imag]}
        case bytes() | bytearray():
            return {"bytes": value.hex()}
        case list():
            return list(value) if _is_json(value) else [encode(item, keep) for item in value]
        case tuple():
            return {"tuple": [encode(item, keep) for item in value]}
        case set():
            return {"set": [encode(item, keep) for item in value]}
        case frozenset():
            return {"frozenset": [encode(item, keep) for item in value]}
        case dict():
            kind = "counter" if isinstance(value, Counter) else "ordered" if isinstance(value, OrderedDict) else "dict"
            return {kind: [[encode(key, keep), encode(item, keep)] for key, item in value.items()]}
        case type(__name__=name) if getattr(builtins, name, None) is value:
            return {"type": name}
    return _of_the_library(value, keep) or {"kept": keep(value)}


def _of_the_library(value: Any, keep: Keep) -> Json:
    """The standard library's values that tests compare as they compare numbers and lists; None for any other."""
    match value:
        case Decimal():
            return {"decimal": str(value)}
        case Fraction():
            return {"fraction": [encode(value.numerator, keep), encode(value.denominator, keep)]}
        case datetime():  # before dates, which they are too
            return {"datetime": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case time():
            return {"time": value.isoformat()}
        case timedelta():
            return {"timedelta": [value.days, value.seconds, value.microseconds]}
        case range():
            return {"range": [encode(bound, keep) for bound in (value.start, value.stop, value.step)]}
        case deque():
            return {"deque": [encode(item, keep) for item in value], "most": value.maxlen}
        case KeysView() if type(value) in _VIEWS:
            return {"keys": [encode(key, keep) for key in value]}
        case ItemsView() if type(value) in _VIEWS:
            return {"items": [[encode(key, keep), encode(item, keep)] for key, item in value]}
    return None


_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.items()))
"""of dictionaries; values have no views that equal each other"""


def decode(data: Json, kept: Callable[[int], Any]) -> Any:
    """What `encode` made of a value; `kept` gives what a number of `keep` stands for. Raises ValueError else."""
    if isinstance(data, list):
        return [decode(item, kept) for item in data] if {dict, list} & set(map(type, data)) else data
    if not isinstance(data, dict):
        return data
    match data:
        case {"integer": str(digits)}:
            return int(digits, 16)
        case {"complex": [float(real), float(imaginary)]}:
            return complex(real, imaginary)
        case {"bytes": str(digits)}:
            return bytes.fromhex(digits)
        case {"tuple": list(items)}:
            return tuple(decode(item, kept) for item in items)
        case {"set": list(items)}:
            return {decode(item, kept) for item in items}
        case {"frozenset": list(items)}:
            return frozenset(decode(item, kept) for item in items)
        case {"dict": list(items)}:
            return {decode(key, kept): decode(item, kept) for key, item in items}
        case {"type": str(name)} if isinstance(getattr(builtins, name, None), type):
            return getattr(builtins, name)
        case {"kept": int(number)}:
            return kept(number)
    try:
        return _for_the_library(data, kept)
    except (ArithmeticError, TypeError) as error:
        raise ValueError(f"the answer is none of the conversation's values: {error}") from error


def _for_the_library(data: dict[str, Json], kept: Callable[[int], Any]) -> Any:
    """What `_of_the_library` made of a value. These are Python's own classes; none is found by a name in `data`."""
    match data:
        case {"counter": list(items)}:
            return Counter({decode(key, kept): decode(item, kept) for key, item in items})
        case {"ordered": list(items)}:
            return OrderedDict((decode(key, kept), decode(item, kept)) for key, item in items)
        case {"decimal": str(digits)}:
            return Decimal(digits)
        case {"fraction": [numerator, denominator]}:
            return Fraction(decode(numerator, kept), decode(denominator, kept))
        case {"datetime": str(text)}:
            return datetime.fromisoformat(text)
        case {"date": str(text)}:
            return date.fromisoformat(text)
        case {"time": str(text)}:
            return time.fromisoformat(text)
        case {"timedelta": [int(days), int(seconds), int(microseconds)]}:
            return timedelta(days, seconds, microseconds)
        case {"range": [start, stop, step]}:
            return range(decode(start, kept), decode(stop, kept), decode(step, kept))
        case {"deque": list(items), "most": None | int() as most}:
            return deque((decode(item, kept) for item in items), most)
        case {"keys": list(keys)}:
            return dict.fromkeys(decode(key, kept) for key in keys).keys()
        case {"items": list(items)}:
            return {decode(key, kept): decode(item, kept) for key, item in items}.items()
    raise ValueError("the answer is none of the conversation's values")


def _is_json(items: list[Any]) -> bool:
    """Whether they are as they should be already: contests hand over lists of 100,000 numbers."""
    kinds = set(map(type, items))
    return (kinds <= {int} and (not items or -JSON_INTEGERS < min(items) <= max(items) < JSON_INTEGERS)) or kinds <= {
        str
    }


class CodeGoneError(Exception):
    """The process of the code under test has ended."""


class RaisedError(Exception):
    """The code under test raised an exception of its own making."""


class Remote:
    """An object of the code under test. It can be used, not compared: whether it equals something is not its to say."""

    __slots__ = ("_ask", "_number")

    def __init__(self, ask: Callable[..., Any], number: int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return self._ask("attribute", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("assign", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", self, key)

    def __len__(self) -> int:
        return int(self._ask("length", self))

    def __iter__(self) -> Any:
        return self._ask("iterate", self)

    def __next__(self) -> Any:
        return self._ask("next", self)

    def __eq__(self, other: object) -> bool:
        raise TypeError("an object of the tested code's own class has no value to compare")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("an object of the tested code's own class has no truth value")


def serve(programs: Sequence[str], requests: IO[str], replies: IO[str], call_seconds: int | None) -> None:
    """Loads the first of `programs` that is Python, then does what is asked of it until nobody asks any more."""
    names: dict[str, Any] = {"__name__": "solution", "__builtins__": builtins}
    _settle_chance("".join(programs))
    exec(_first_compiled(programs), names)
    objects: list[Any] = []

    def keep(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    for line in requests:
        operation, *arguments = decode(json.loads(line), objects.__getitem__)
        if call_seconds is not None:
            _allow_seconds(call_seconds)
        try:
            reply = {"value": encode(_perform(names, operation, *arguments), keep)}
        except BaseException as error:  # the end of a call of sys.exit is its result too
            reply = {"raised": [type(error).__name__, str(error)[:1000]]}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _first_compiled(programs: Sequence[str]) -> CodeType:
    """Raises what is wrong with the first where none is Python."""
    for program in programs:
        with suppress(SyntaxError, ValueError):
            return compile(program, "solution.py", "exec", dont_inherit=True)
    return compile(programs[0], "solution.py", "exec", dont_inherit=True)


def _perform(names: Mapping[str, Any], operation: str, target: Any, *arguments: Any) -> Any:
    match operation, arguments:
        case "name", ():
            return names[target]
        case "call", (args, kwargs):
            return target(*args, **kwargs)
        case "attribute", (name,):
            return getattr(target, name)
        case "assign", (name, value):
            return setattr(target, name, value)
        case "item", (key,):
            return target[key]
        case "length", ():
            return len(target)
        case "iterate", ():
            return iter(target)
        case "next", ():
            return next(target)
    raise ValueError(operation)


def _allow_seconds(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (min(math.ceil(used.ru_utime + used.ru_stime) + seconds, hard), hard))


def _settle_chance(code: str) -> None:
    """The same answer has to get the same grade, whatever it draws."""
    if "random" in code:
        import random

        random.seed(0)


def examine(
    before: str, tests: str, wanted: list[str], given: Mapping[str, Any], requests: IO[str], replies: IO[str]
) -> int:
    """Runs `before`, takes the names `wanted` from the code under test, and runs the tests: one of the ends above.

    Without `wanted`, names that the tests use and nobody binds are modules of the standard library, or else the code's.
    What is wrong goes to standard error, in a line.
    """

    def ask(*request: Any) -> Any:
        try:
            requests.write(json.dumps(encode(list(request), _number_of)) + "\n")
            requests.flush()
            line = replies.readline(LONGEST_ANSWER)
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            raise CodeGoneError
        reply = json.loads(line)
        if "raised" in reply:
            raise _exception(*reply["raised"])
        return decode(reply["value"], lambda number: Remote(ask, number))

    names: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins, **given}
    _settle_chance(tests)
    try:
        exec(compile(before, "before.py", "exec", dont_inherit=True), names)
        program = compile(tests, "tests.py", "exec", dont_inherit=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return TESTS_BROKEN
    try:
        unbound = [name for name in unbound_names(tests) if name not in names]
        names |= {name: import_module(name) for name in unbound if name in sys.stdlib_module_names}
        of_code = [name for name in unbound if name not in names]
        for name in wanted or of_code or called_builtins(tests):
            try:
                names[name] = ask("name", name)
            except KeyError:
                names.pop(name, None)  # so that the tests say that it is missing
        return _outcome(program, names, tests)
    except CodeGoneError:
        return CODE_GONE


def _outcome(program: CodeType, names: dict[str, Any], tests: str) -> int:
    try:
        exec(program, names)
    except CodeGoneError:
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "tests.py"]
        test = tests.splitlines()[lines[-1] - 1].strip() if lines and lines[-1] else ""
        said = ": ".join(filter(None, (type(error).__name__, str(error))))
        print(f"{said} in: {test}" if test else said, file=sys.stderr)
        return FAILED
    return PASSED


def unbound_names(source: str) -> Iterator[str]:
    """The names that `source` reads and nothing in it binds, builtins left out."""
    tree = ast.parse(source)
    bound = set(dir(builtins))
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                bound.add(name)
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add(other or name.partition(".")[0])
    read = {node.id: None for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return (name for name in read if name not in bound)


def called_builtins(source: str) -> list[str]:
    """The builtins that `source` calls by name. Where it calls nothing else, the code is to define one of these."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [function.id for function in calls if isinstance(function, ast.Name) and hasattr(builtins, function.id)]


def _number_of(value: Any) -> int:
    if isinstance(value, Remote):
        return int(object.__getattribute__(value, "_number"))
    raise TypeError(f"a {type(value).__name__} of the tests can't be handed to the code under test")


def _exception(name: str, message: str) -> Exception:
    """Of the same builtin class where there is one, so that tests may expect it."""
    kind = getattr(builtins, str(name), None)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):
        return kind(message)
    return RaisedError(f"{name}: {message}")


def main(given: Mapping[str, Any]) -> None:
    """The start of either side, with its descriptors and what it needs."""
    fed, written = given["wires"]
    ending = CODE_GONE
    # Who has gone leaves the other with text that can't be written any more, not even by closing.
    with (
        suppress(BrokenPipeError),
        open(fed, encoding="utf-8") as reading,
        open(written, "w", encoding="utf-8") as writing,
    ):
        if "programs" in given:
            serve(given["programs"], reading, writing, given["call_seconds"])
            return
        ending = examine(given["before"], given["tests"], given["wanted"], given["given"], writing, reading)
    sys.exit(ending)
