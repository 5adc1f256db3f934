"""The content of run.json as it stands in the middle of a run, for tests of what is told of one."""

from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def ago(minutes: float) -> str:
    return (NOW - timedelta(minutes=minutes)).isoformat(timespec="seconds")


def live(committed: int = 300, **fields: Any) -> dict[str, Any]:
    usual = {
        "pools": ["model", "guard"],
        "total": 1113,
        "done_before": 100,
        "committed": committed,
        "counts": {"rows": 100 + committed, "ok": 90 + committed, "error": 10, "unsafe": 80, "missing": 2},
        "ready": {"model": 2, "guard": 1},
        "seconds": 300.0,
        "tokens_per_second": 1830.4,
        "rows_per_second": 2.0,
    }
    return usual | fields


def one_try(status: str = "running", **fields: Any) -> dict[str, Any]:
    ended = None if status in ("running", "cut off") else ago(1)
    return {"started": ago(10), "ended": ended, "status": status, "rows_found": 100, "pools": {}} | fields


def record(*tries: dict[str, Any], minutes: float = 0.1, **fields: Any) -> dict[str, Any]:
    """A run of R1-7B of 1,113 rows, last written some minutes ago."""
    identity = {"model": {"name": "R1-7B"}, "settings": []}
    return {"identity": identity, "rows": 1113, "tries": list(tries), "updated": ago(minutes)} | fields
