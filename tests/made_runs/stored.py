"""run.json as a tree, for tests that forge what another version, or a crash, left in it."""

import json
from typing import Any

from safechain_ray.runs.folder import RunFolder


def read_tree(folder: RunFolder) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(folder.folder.read_text("run.json"))
    return tree


def write_tree(folder: RunFolder, tree: dict[str, Any]) -> None:
    folder.folder.write_text("run.json", json.dumps(tree))
