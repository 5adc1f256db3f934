"""Reasoning benchmarks of one model, from its config to its figures."""
