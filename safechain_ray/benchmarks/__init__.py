"""Reasoning benchmarks: what is asked, and who grades what was answered."""

from safechain_ray.benchmarks.base import Grade, Grader, Problem

__all__ = ["Grade", "Grader", "Problem"]
