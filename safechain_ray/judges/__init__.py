"""Judges: who decides whether a part of a response is unsafe."""
