"""Reasoning benchmarks: what is asked, and who grades what was answered."""
