"""How `make check` weighs what pip-audit finds."""

import runpy
from typing import Any

from tests.deployment import ROOT


def weigh(report: Any, ignored: dict[str, str]) -> Any:
    return AUDIT["weigh"](report, ignored)


AUDIT = runpy.run_path(str(ROOT / "scripts" / "audit.py"), run_name="audit")

FINDING = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.0"]}
CLEAN = {"name": "clean", "version": "1.0", "vulns": []}
HURT = {"name": "hurt", "version": "1.9", "vulns": [FINDING]}
UNKNOWN = {"name": "torch", "skip_reason": "not found"}


def test_packages_without_findings_pass() -> None:
    verdict = weigh({"dependencies": [CLEAN, UNKNOWN]}, {})
    assert verdict.passed
    assert verdict.lines == ("1 of 2 packages audited, 0 vulnerabilities, 0 new.",)


def test_a_new_finding_fails_with_the_version_that_fixes_it() -> None:
    verdict = weigh({"dependencies": [CLEAN, HURT]}, {})
    assert not verdict.passed
    assert verdict.lines[0].startswith("hurt 1.9: PYSEC-1, fixed in 2.0. Fix: raise its version")


def test_a_finding_whose_harmlessness_is_argued_passes_under_any_of_its_names() -> None:
    for name in ("PYSEC-1", "CVE-2026-1"):
        verdict = weigh({"dependencies": [HURT]}, {name: "only for servers, none is run"})
        assert verdict.passed
        assert "ignored: only for servers, none is run" in verdict.lines[0]


def test_an_argument_that_is_needed_no_more_is_named() -> None:
    verdict = weigh({"dependencies": [CLEAN]}, {"CVE-2025-9": "never called"})
    assert verdict.passed
    assert verdict.lines[0] == "CVE-2025-9 is ignored in pyproject.toml, and no package has it. Fix: remove it there."


def test_a_service_that_can_not_be_reached_is_said_and_does_not_fail() -> None:
    for report in (None, {"dependencies": [UNKNOWN]}):
        verdict = weigh(report, {"CVE-2025-9": "never called"})
        assert verdict.passed
        assert verdict.lines == ("No package was audited: the vulnerability service can't be reached from here.",)
