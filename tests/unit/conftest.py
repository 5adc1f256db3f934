"""What all unit tests share: a place for what commands leave, and catalogs from outside the package."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safechain_ray import catalog
from safechain_ray.catalog import sources
from safechain_ray.cli import common
from safechain_ray.report import quiet

Use = Callable[..., Path]


@pytest.fixture
def own_signals_and_logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For tests that call the command in this process: its handler of SIGTERM and its log file stay away from here."""
    monkeypatch.setattr(common.signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(quiet.tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """Writes a catalog folder of these files and puts it into SAFECHAIN_CATALOG."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    folder = tmp_path / "mine"

    def write(**files: str) -> Path:
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            for suffix in ("yaml", "py", "csv", "jsonl"):
                name = f"{name.removesuffix(f'_{suffix}')}.{suffix}" if name.endswith(f"_{suffix}") else name
            (folder / name).write_text(text)
        monkeypatch.setenv(sources.VARIABLE, str(folder))
        sources._read_all.cache_clear()
        return folder

    monkeypatch.setattr(catalog.code, "_folders", set())
    monkeypatch.setattr(catalog.code, "_loaded", {})
    yield write
    sources._read_all.cache_clear()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
