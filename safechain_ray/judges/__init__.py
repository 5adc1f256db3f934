"""Judges: decide whether a part of a response is unsafe."""
