"""Folders that an earlier version wrote, copied for one test, and whether their content is as it was."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

FOLDERS = Path(__file__).parent / "fixtures" / "written_by_ade6d38"


def copied(name: str, target: Path) -> Path:
    """A copy of the folder or file `name` in the folder `target`, under the last part of its name."""
    source, copy = FOLDERS / name, target / Path(name).name
    if source.is_dir():
        shutil.copytree(source, copy)
    else:
        shutil.copy(source, copy)
    return copy


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def table(folder: Path) -> pa.Table:
    """All rows of the folder's Parquet files."""
    return pads.dataset(folder, format="parquet").to_table()


def rows_by_id(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows by sample_id. Fails where a sample is there twice."""
    rows = table(folder).to_pylist()
    by_id = {row["sample_id"]: row for row in rows}
    assert len(by_id) == len(rows)
    return by_id


def changed(earlier: Any, now: Any, path: str = "") -> list[str]:
    """The paths of values of a JSON tree that are gone or other ones in another tree. More keys are no change."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        return [
            found
            for key, value in earlier.items()
            for found in (changed(value, now[key], f"{path}.{key}") if key in now else [f"{path}.{key} is gone"])
        ]
    if isinstance(earlier, list) and isinstance(now, list) and len(earlier) == len(now):
        return [
            found
            for number, (one, other) in enumerate(zip(earlier, now, strict=True))
            for found in changed(one, other, f"{path}.{number}")
        ]
    return [] if earlier == now else [f"{path}: {earlier!r} -> {now!r}"]
