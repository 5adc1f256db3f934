"""Measure, and improve, the safety of large reasoning models at scale."""

__version__ = "0.1.0"
