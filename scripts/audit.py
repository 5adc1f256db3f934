"""`make check`: asks pip-audit whether installed packages have known vulnerabilities, and weighs what it finds.

A finding fails the check unless pyproject.toml says under [tool.audit.ignored] why it does not concern this project.
Where the vulnerability service can't be reached, the check prints a note and passes: it
checks packages, not the network.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMMAND = ("-m", "pip_audit", "--skip-editable", "--format", "json", "--progress-spinner", "off", "--desc", "off")
PATIENCE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the audit came to, line by line, and whether `make check` may pass."""

    lines: tuple[str, ...]
    passed: bool


def weigh(report: Mapping[str, Any] | None, ignored: Mapping[str, str]) -> Verdict:
    """`report` is pip-audit's JSON, None where it gave none; `ignored` maps ids of vulnerabilities to reasons."""
    packages = [] if report is None else report["dependencies"]
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        return Verdict(("No package was audited: the vulnerability service can't be reached from here.",), passed=True)
    found = {vulnerability["id"]: (package, vulnerability) for package in audited for vulnerability in package["vulns"]}
    known = {one: ids for one, (_, vulnerability) in found.items() if (ids := _ids(vulnerability) & ignored.keys())}
    lines = [
        _line(*finding, ignored[min(known[one])] if one in known else None) for one, finding in sorted(found.items())
    ]
    for stale in sorted(ignored.keys() - set().union(*known.values())):
        lines.append(f"{stale} is ignored in pyproject.toml, and no package has it. Fix: remove it there.")
    unknown = len(found) - len(known)
    lines.append(f"{len(audited)} of {len(packages)} packages audited, {len(found)} vulnerabilities, {unknown} new.")
    return Verdict(tuple(lines), passed=not unknown)


def _ids(vulnerability: Mapping[str, Any]) -> set[str]:
    return {vulnerability["id"], *vulnerability["aliases"]}


def _line(package: Mapping[str, Any], vulnerability: Mapping[str, Any], reason: str | None) -> str:
    fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
    fix = "Fix: raise its version, or add it under [tool.audit.ignored] with the reason why it may stay."
    found = f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}"
    return f"{found}; ignored: {reason}" if reason else f"{found}. {fix}"


def asked() -> Mapping[str, Any] | None:
    """pip-audit's report of this environment; None where it could not make one."""
    try:
        done = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        report: Mapping[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return report


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    verdict = weigh(asked(), project["tool"]["audit"]["ignored"])
    print("\n".join(f"audit: {line}" for line in verdict.lines))
    sys.exit(not verdict.passed)
