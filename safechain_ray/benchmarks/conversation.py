"""Protocol between tests and the code under test, which run in two sandboxes and exchange plain values over two pipes.

The tests call; the code answers. The code's process contains neither the tests nor an expected result, so it can't
replace, print or exit anything to pass them. An answer is compared as a value, by Python's own types, in the tests'
process. A value without a plain form (an object, an iterator) stays in the code's process, and the tests get a `Remote`
proxy.

This file runs inside both sandboxes, which have only the standard library. `serve` is the code's side, `examine` that
of the tests.
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
"""Exit codes of the tests' process."""

LONGEST_ANSWER = 64 * 2**20
JSON_INTEGERS = 2**53
"""Larger integers are sent as hexadecimal digits, which have no length limit."""

Json = Any
Register = Callable[[Any], int]


def encode(value: Any, register: Register) -> Json:
    """A value as JSON that preserves Python's plain types. `register` numbers objects without a plain value."""
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
            return list(value) if _is_json(value) else [encode(item, register) for item in value]
        case tuple():
            return {"tuple": [encode(item, register) for item in value]}
        case set():
            return {"set": [encode(item, register) for item in value]}
        case frozenset():
            return {"frozenset": [encode(item, register) for item in value]}
        case dict():
            kind = "counter" if isinstance(value, Counter) else "ordered" if isinstance(value, OrderedDict) else "dict"
            return {kind: [[encode(key, register), encode(item, register)] for key, item in value.items()]}
        case type(__name__=name) if getattr(builtins, name, None) is value:
            return {"type": name}
    return _encode_library(value, register) or {"object": register(value)}


def _encode_library(value: Any, register: Register) -> Json:
    """Values of the standard library that tests compare like numbers and lists; None for any other value."""
    match value:
        case Decimal():
            return {"decimal": str(value)}
        case Fraction():
            return {"fraction": [encode(value.numerator, register), encode(value.denominator, register)]}
        case datetime():  # before dates, which they are too
            return {"datetime": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case time():
            return {"time": value.isoformat()}
        case timedelta():
            return {"timedelta": [value.days, value.seconds, value.microseconds]}
        case range():
            return {"range": [encode(bound, register) for bound in (value.start, value.stop, value.step)]}
        case deque():
            return {"deque": [encode(item, register) for item in value], "most": value.maxlen}
        case KeysView() if type(value) in _VIEWS:
            return {"keys": [encode(key, register) for key in value]}
        case ItemsView() if type(value) in _VIEWS:
            return {"items": [[encode(key, register), encode(item, register)] for key, item in value]}
    return None


_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.items()))
"""Views of dictionaries. Views of values are not comparable."""


def decode(data: Json, lookup: Callable[[int], Any]) -> Any:
    """The value behind the JSON of `encode`. `lookup` returns the object of a registered number. Raises ValueError."""
    if isinstance(data, list):
        return [decode(item, lookup) for item in data] if {dict, list} & set(map(type, data)) else data
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
            return tuple(decode(item, lookup) for item in items)
        case {"set": list(items)}:
            return {decode(item, lookup) for item in items}
        case {"frozenset": list(items)}:
            return frozenset(decode(item, lookup) for item in items)
        case {"dict": list(items)}:
            return {decode(key, lookup): decode(item, lookup) for key, item in items}
        case {"type": str(name)} if isinstance(getattr(builtins, name, None), type):
            return getattr(builtins, name)
        case {"object": int(number)}:
            return lookup(number)
    try:
        return _decode_library(data, lookup)
    except (ArithmeticError, TypeError) as error:
        raise ValueError(f"the answer is none of the conversation's values: {error}") from error


def _decode_library(data: dict[str, Json], lookup: Callable[[int], Any]) -> Any:
    """The value encoded by `_encode_library`. Only the classes listed here are created, none by a name in `data`."""
    match data:
        case {"counter": list(items)}:
            return Counter({decode(key, lookup): decode(item, lookup) for key, item in items})
        case {"ordered": list(items)}:
            return OrderedDict((decode(key, lookup), decode(item, lookup)) for key, item in items)
        case {"decimal": str(digits)}:
            return Decimal(digits)
        case {"fraction": [numerator, denominator]}:
            return Fraction(decode(numerator, lookup), decode(denominator, lookup))
        case {"datetime": str(text)}:
            return datetime.fromisoformat(text)
        case {"date": str(text)}:
            return date.fromisoformat(text)
        case {"time": str(text)}:
            return time.fromisoformat(text)
        case {"timedelta": [int(days), int(seconds), int(microseconds)]}:
            return timedelta(days, seconds, microseconds)
        case {"range": [start, stop, step]}:
            return range(decode(start, lookup), decode(stop, lookup), decode(step, lookup))
        case {"deque": list(items), "most": None | int() as most}:
            return deque((decode(item, lookup) for item in items), most)
        case {"keys": list(keys)}:
            return dict.fromkeys(decode(key, lookup) for key in keys).keys()
        case {"items": list(items)}:
            return {decode(key, lookup): decode(item, lookup) for key, item in items}.items()
    raise ValueError("the answer is none of the conversation's values")


def _is_json(items: list[Any]) -> bool:
    """Whether all items are plain JSON already: contests pass lists of 100,000 numbers."""
    kinds = set(map(type, items))
    return (kinds <= {int} and (not items or -JSON_INTEGERS < min(items) <= max(items) < JSON_INTEGERS)) or kinds <= {
        str
    }


class CodeGoneError(Exception):
    """The process of the code under test has ended."""


class RaisedError(Exception):
    """The code under test raised an exception of its own class."""


class Remote:
    """Proxy of an object of the code under test.

    It can be used but not compared: its own code must not decide equality.
    """

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
    """Load the first of `programs` that compiles, then answer requests until the pipe closes."""
    names: dict[str, Any] = {"__name__": "solution", "__builtins__": builtins}
    _seed_random("".join(programs))
    exec(_first_compiled(programs), names)
    objects: list[Any] = []

    def register(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    for line in requests:
        operation, *arguments = decode(json.loads(line), objects.__getitem__)
        if call_seconds is not None:
            _limit_seconds(call_seconds)
        try:
            reply = {"value": encode(_perform(names, operation, *arguments), register)}
        except BaseException as error:  # SystemExit of a call is a result too
            reply = {"raised": [type(error).__name__, str(error)[:1000]]}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _first_compiled(programs: Sequence[str]) -> CodeType:
    """The first program that compiles. Raises the error of the first program if none does."""
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


def _limit_seconds(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (min(math.ceil(used.ru_utime + used.ru_stime) + seconds, hard), hard))


def _seed_random(code: str) -> None:
    """Seed `random`, so that equal answers get equal grades."""
    if "random" in code:
        import random

        random.seed(0)


def examine(
    before: str, tests: str, wanted: list[str], given: Mapping[str, Any], requests: IO[str], replies: IO[str]
) -> int:
    """Run `before`, take the names `wanted` from the code under test, and run the tests.

    Returns an exit code (see above).

    Without `wanted`, unbound names of the tests are modules of the standard library, or else names of the code. Errors
    are written to standard error in one line.
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
    _seed_random(tests)
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
                names.pop(name, None)  # the tests then report the missing name
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
        message = ": ".join(filter(None, (type(error).__name__, str(error))))
        print(f"{message} in: {test}" if test else message, file=sys.stderr)
        return FAILED
    return PASSED


def unbound_names(source: str) -> Iterator[str]:
    """Names read but not bound in `source`, without builtins."""
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
    """Builtins that `source` calls by name. If the tests call nothing else, the code redefines one of these."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [function.id for function in calls if isinstance(function, ast.Name) and hasattr(builtins, function.id)]


def _number_of(value: Any) -> int:
    if isinstance(value, Remote):
        return int(object.__getattribute__(value, "_number"))
    raise TypeError(f"a {type(value).__name__} of the tests can't be handed to the code under test")


def _exception(name: str, message: str) -> Exception:
    """An exception of the same builtin class, if there is one, so that tests can expect it."""
    kind = getattr(builtins, str(name), None)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):
        return kind(message)
    return RaisedError(f"{name}: {message}")


def main(given: Mapping[str, Any]) -> None:
    """Entry point of both sides, with the descriptors and the side's input."""
    fed, written = given["wires"]
    ending = CODE_GONE
    # After the other side has ended, buffered text can't be written, not even by closing the pipe.
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
