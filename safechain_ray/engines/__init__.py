"""Engines: language models that answer requests concurrently."""
