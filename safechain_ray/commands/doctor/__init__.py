"""The doctor command: checks of a model, a judge and an installation, without a GPU and without loading weights.

A check gives a `Finding`: ok, doubtful, failed or not checked, with the fix.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed", "not checked"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one subject (a model's name, a judge's, "installation"). `fix` is None where no fix is needed."""

    subject: str
    check: str
    status: Status
    detail: str
    fix: str | None = None


def any_failed(findings: Iterable[Finding]) -> bool:
    return any(finding.status == "failed" for finding in findings)


@dataclass(frozen=True, slots=True)
class Subject:
    """Writes findings about one subject. `key` is its place in a config: model, or judges.0."""

    name: str
    key: str = "model"

    def ok(self, check: str, detail: str) -> Finding:
        return Finding(self.name, check, "ok", detail)

    def warning(self, check: str, detail: str, fix: str) -> Finding:
        return Finding(self.name, check, "warning", detail, fix)

    def failed(self, check: str, detail: str, fix: str) -> Finding:
        return Finding(self.name, check, "failed", detail, fix)

    def not_checked(self, check: str, detail: str, fix: str | None = None) -> Finding:
        return Finding(self.name, check, "not checked", detail, fix)
