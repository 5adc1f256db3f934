"""Run folders with one or a few things damaged, by a seed: what crashes, editors and hostile writers may leave."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ODD = [
    None,
    True,
    0,
    -1,
    10**18,
    10**30,
    0.5,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../../x",
    "\x1b[2J\u202e",
    [],
    [[]],
    {},
    {"x": {}},
    "2026-01-01",
    "[" * 10,
]
"""Values of other types and of the ends of their ranges."""

Path_ = tuple[str | int, ...]


def damage(run: Path, seed: int) -> str:
    """Damage the folder in one to three places; gives what was done, for the message of a failing test."""
    chance = random.Random(seed)
    done = [_damage_once(run, chance) for _ in range(chance.choice((1, 1, 2, 3)))]
    return f"seed {seed}: {'; '.join(done)}"


def _damage_once(run: Path, chance: random.Random) -> str:
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.suffix in (".json", ".parquet"))
    records = [path for path in files if path.suffix == ".json"]
    file = chance.choice(records if records and chance.random() < 0.75 else files or [run / "run.json"])
    if file.suffix == ".json" and file.is_file() and chance.random() < 0.7:
        return f"{file.name}: {_change_a_value(file, chance)}"
    if file.suffix == ".parquet" and file.is_file() and chance.random() < 0.6:
        return f"{file.name}: {_change_a_column(file, chance)}"
    kind = chance.choice(sorted(WHOLE_FILE))
    WHOLE_FILE[kind](file, chance)
    return f"{file.name}: {kind}"


def _change_a_value(file: Path, chance: random.Random) -> str:
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        places = list(_places(tree))
    except (ValueError, RecursionError):
        return "left as it is"
    if not places:
        return "left as it is"
    # Keys near the top are few, and matter most.
    deepest = chance.randint(1, max(map(len, places)))
    place = chance.choice([each for each in places if len(each) <= deepest])
    node = tree
    for step in place[:-1]:
        node = node[step]
    if chance.random() < 0.3:
        del node[place[-1]]
        what = "gone"
    else:
        node[place[-1]] = chance.choice(ODD)
        what = repr(node[place[-1]])
    file.write_text(json.dumps(tree), encoding="utf-8")
    return f"{'.'.join(map(str, place))} is {what}"


def _places(tree: Any, above: Path_ = ()) -> Iterator[Path_]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*above, key)
        yield from _places(value, (*above, key))


def _change_a_column(file: Path, chance: random.Random) -> str:
    try:
        table = pq.read_table(file, partitioning=None)
    except (OSError, pa.ArrowException):
        return "left as it is"
    number = chance.randrange(table.num_columns)
    name, rows = table.column_names[number], table.num_rows
    columns: dict[str, Callable[[], pa.Array]] = {
        "nulls": lambda: pa.nulls(rows, table.schema.field(number).type),
        "of null": lambda: pa.nulls(rows),
        "of numbers": lambda: pa.array(range(rows)),
        "of texts": lambda: pa.array([str(row) for row in range(rows)]),
        "of lists": lambda: pa.array([[row] for row in range(rows)]),
        "of the first value": lambda: pa.array(
            [table[number][0].as_py() if rows else None] * rows, table.schema.field(number).type
        ),
        "of bytes": lambda: pa.array([b"\xff"] * rows, pa.binary()).view(pa.string()),
    }
    kind = chance.choice([*sorted(columns), "gone", "twice"])
    if kind == "gone":
        table = table.remove_column(number)
    elif kind == "twice":
        table = pa.concat_tables([table, table])
    else:
        field = pa.field(name, columns[kind]().type)
        table = table.set_column(number, field, columns[kind]())
    pq.write_table(table, file)
    return f"column {name} {kind}"


def _replace(file: Path, make: Callable[[Path], object]) -> None:
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)
    make(file)


def _cut(file: Path, chance: random.Random) -> None:
    if file.is_file():
        data = file.read_bytes()
        file.write_bytes(data[: chance.randrange(len(data) + 1)])


def _flip(file: Path, chance: random.Random) -> None:
    data = bytearray(file.read_bytes()) if file.is_file() else bytearray()
    for _ in range(min(5, len(data))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    _replace(file, lambda path: path.write_bytes(bytes(data)))


def _written(data: bytes) -> Callable[[Path, random.Random], None]:
    return lambda file, chance: _replace(file, lambda path: path.write_bytes(data))


WHOLE_FILE: dict[str, Callable[[Path, random.Random], None]] = {
    "cut off": _cut,
    "bits flipped": _flip,
    "empty": _written(b""),
    "no text": _written(b"\xff\xfe\x00"),
    "a list": _written(b"[]"),
    "a number": _written(b"3"),
    "NaN": _written(b"NaN"),
    "nested lists": _written(b"[" * 100_000),
    "nested objects": _written(b'{"a":' * 100_000),
    "deep but whole": _written(b'{"identity":' * 900 + b"{}" + b"}" * 900),
    "a long number": _written(b'{"rows": ' + b"9" * 5000 + b"}"),
    "gone": lambda file, chance: file.unlink(missing_ok=True),
    "a folder": lambda file, chance: _replace(file, Path.mkdir),
    "a named pipe": lambda file, chance: _replace(file, os.mkfifo),
    "a device": lambda file, chance: _replace(file, lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": lambda file, chance: _replace(file, lambda path: path.symlink_to(path)),
}
