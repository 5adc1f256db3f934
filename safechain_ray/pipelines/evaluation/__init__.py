"""Runs that generate or judge: evaluations, further judges, growing pieces of thoughts, judge studies."""
