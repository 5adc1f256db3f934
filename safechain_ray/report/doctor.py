"""The doctor's findings as a table, each with its fix, and as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from safechain_ray.commands.doctor.finding import Finding, Status, any_failed
from safechain_ray.report.escape import escape

COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "failed": "bold red", "not checked": "dim"}


def findings_summary(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as JSON, with a count of each status."""
    return {
        "failed": any_failed(findings),
        "counts": _counts(findings),
        "findings": [asdict(finding) for finding in findings],
    }


def render_findings(findings: Sequence[Finding], console: Console) -> None:
    """One table a subject. Details quote foreign files, and are escaped."""
    for subject, group in groupby(findings, lambda finding: finding.subject):
        table = Table("status", "check", "found", box=None, show_header=False, pad_edge=False, padding=(0, 1))
        for finding in group:
            colour = COLOURS[finding.status]
            table.add_row(f"  [{colour}]{finding.status}[/]", escape(finding.check), _found(finding))
        console.print(f"[bold]{escape(subject)}[/]")
        console.print(table)
    counts = ", ".join(f"{count} {status}" for status, count in _counts(findings).items() if count)
    console.print(f"{len(findings)} checks: {counts}.", highlight=False)


def _found(finding: Finding) -> str:
    detail = escape(finding.detail)
    return f"{detail}\n[italic]Fix: {escape(finding.fix)}.[/]" if finding.fix else detail


def _counts(findings: Sequence[Finding]) -> dict[Status, int]:
    counted = Counter(finding.status for finding in findings)
    return {status: counted[status] for status in get_args(Status)}
