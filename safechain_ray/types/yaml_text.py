"""YAML reader with the core schema of YAML 1.2, which refuses duplicate keys.

PyYAML follows YAML 1.1: `yes` is true, `010` is 8, `1:30` is 90, and the last of duplicate keys wins. So a run
could silently use a number that nobody wrote. The loader keeps PyYAML's parser and changes four things:

1. The types of plain scalars are those of YAML 1.2: only `true` and `false` are booleans, `010` is 10 and `0o10` is 8,
   `no`, `1:30` and `2024-01-01` are text.
2. Two equal keys in one mapping are an error with both lines. A key that overrides one from `<<` is not.
3. A whole number of more than 64 bits is an error, because no column, seed or message can store it.
4. An explicit tag must be one of YAML 1.2's core schema, and its text must match the tag. PyYAML reads
   `!!bool yes` as true and `!!float 1:30` as 90, and fails with a KeyError for `!!bool 1`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from safechain_ray.likely_keys import may_hold_key, without_likely_keys
from safechain_ray.types.strict_numbers import NOT_INT64, fits_int64

MOST_DIGITS = 1000

KeyPath = tuple[str | int, ...]
"""The path to a value: mapping keys and list indices."""

_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_MERGE = re.compile(r"^<<$")

_MAY_HOLD_SECRET = re.compile(r"key|token|secret|passw|auth|://|[\w-]{16}", re.IGNORECASE)

_NAME = re.compile(r"^(found (?:undefined alias|duplicate anchor|undefined tag handle))\b")
"""PyYAML's words before the name of an alias, an anchor or a tag."""

_TAG_OR_ALIAS = re.compile(r"(?:^|[\s:,\[{-])[!&*][^!\s]")

_Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]
_TAG = "tag:yaml.org,2002:"
_RESOLVERS = (
    ("bool", _BOOL, "tTfF"),
    ("null", _NULL, ["~", "n", "N", ""]),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+0123456789."),
    ("merge", _MERGE, "<"),
)


_FITTING: Mapping[str, re.Pattern[str] | None] = {
    "bool": _BOOL,
    "null": _NULL,
    "int": _INT,
    "float": _FLOAT,
    "str": None,
    "seq": None,
    "map": None,
}
"""The tags of the core schema, and the pattern of a scalar of each."""


MOST_VALUES = 1_000_000
"""Values of a document. A few lines of nested aliases can expand to 9^9 values."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: _Resolvers = {}  # noqa: RUF012 (as PyYAML declares it)

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._values_below: dict[int, int] = {}  # node id -> values, aliases expanded

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Check the explicit tag and the number of values with all aliases expanded, then return the node."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        tag, start = getattr(event, "tag", None), event.start_mark
        if tag is not None and tag != "!":
            _check_tag(tag, event)
        node: Any = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._values_below:
                raise yaml.composer.ComposerError(None, None, "this alias refers to a value that contains it", start)
            return node
        values = 1 + sum(self._values_below[id(child)] for child in _children(node))
        if values > MOST_VALUES:
            problem = f"with its aliases written out, this has more than {MOST_VALUES:,} values"
            raise yaml.composer.ComposerError(None, None, problem, start)
        self._values_below[id(node)] = values
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Check for duplicate keys in the mapping as written, before `<<` merges others into it."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
                continue
            named = (key.tag, key.value)
            if named in first:
                raise yaml.composer.ComposerError(
                    None,
                    None,
                    f"the key {without_likely_keys(key.value)!r} is given twice, first in line {first[named].line + 1}",
                    key.start_mark,
                )
            first[named] = key.start_mark
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        number = text[2:] if base != 10 else text
        # int() refuses more than 4300 digits, and a message can't show them.
        value = int(number, base) if len(number) <= MOST_DIGITS else None
        if value is None or not fits_int64(value):
            raise yaml.constructor.ConstructorError(None, None, f"a whole number {NOT_INT64}", node.start_mark)
        return value


def _children(node: Any) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return (part for pair in node.value for part in pair)
    return tuple(node.value) if isinstance(node, yaml.SequenceNode) else ()


def _check_tag(tag: str, event: Any) -> None:
    """Raise ComposerError for a tag outside the core schema, or a text that does not match its tag."""
    name = tag.removeprefix(_TAG)
    # An unknown tag may be a secret that was written after a "!".
    shown = f"the tag !!{without_likely_keys(name)}" if tag.startswith(_TAG) else "this tag"
    problem = f"{shown} is none of {', '.join(f'!!{known}' for known in _FITTING)}"
    if tag.startswith(_TAG) and name in _FITTING:
        pattern = _FITTING[name]
        kinds: dict[str, type] = {"seq": yaml.SequenceStartEvent, "map": yaml.MappingStartEvent}
        fits: bool = isinstance(event, kinds.get(name, yaml.ScalarEvent))
        if fits:
            if pattern is None or pattern.fullmatch(event.value):
                return
            problem = f"{without_likely_keys(event.value)[:40]!r} does not fit {shown}"
        else:
            problem = f"{shown} does not fit this kind of value"
    raise yaml.composer.ComposerError(None, None, f"{problem}; write the value without the tag", event.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as something else."""

    yaml_implicit_resolvers: _Resolvers = {  # noqa: RUF012
        first: list(patterns) for first, patterns in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", _pattern, list(_first))
    _Dumper.add_implicit_resolver(f"{_TAG}{_name}", _pattern, list(_first))
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_yaml_int)


def load_yaml(text: str, origin: str = "") -> Any:
    """The value of a YAML document; `origin` names it in errors.

    Raises:
        yaml.YAMLError: the text is not YAML, or has a duplicate key; with the line.
    """
    loader = _loader(text, origin)
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        raise _without_snippets(error) from None
    except (ValueError, RecursionError) as error:  # an integer of too many digits, a list in a list in a list
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


def _without_snippets(error: yaml.MarkedYAMLError) -> yaml.MarkedYAMLError:
    """The error with its lines and columns, without quoted text (a line, a tag, an alias) that may be a secret."""
    names = _NAME.search(error.problem or "")
    if names:
        error.problem = names[1]
    for mark in (error.problem_mark, error.context_mark):
        line = "" if mark is None else mark.get_snippet(max_length=10_000) or ""
        if mark is not None and (
            names or _TAG_OR_ALIAS.search(line) or _MAY_HOLD_SECRET.search(line) or may_hold_key(line)
        ):
            mark.buffer = None
    return error


def lines_of(text: str) -> Mapping[KeyPath, int]:
    """The line, counted from 1, of every key and list item of a document that `load_yaml` reads.

    A value that an alias repeats has the line of its anchor.
    """
    loader = _loader(text, "")
    try:
        node = loader.get_single_node()
    finally:
        loader.dispose()
    lines: dict[KeyPath, int] = {}
    todo: list[tuple[KeyPath, Any]] = [((), node)]
    seen: set[int] = set()
    while todo:
        path, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            children = [(key.value, key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
        elif isinstance(node, yaml.SequenceNode):
            children = [(index, value, value) for index, value in enumerate(node.value)]
        else:
            continue
        for step, marked, value in children:
            lines[*path, step] = marked.start_mark.line + 1
            todo.append(((*path, step), value))
    return lines


def dump_yaml(tree: Any) -> str:
    """`tree` as YAML that `load_yaml` and readers of YAML 1.1 read back unchanged."""
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False))


def _loader(text: str, origin: str) -> _Loader:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        raise yaml.YAMLError(f"it holds a character that YAML does not allow ({error.reason})") from error
    loader.name = origin or "YAML"
    return loader
