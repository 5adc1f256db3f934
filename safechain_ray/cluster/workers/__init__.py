"""Actors and tasks of the stream: they generate, judge, grade and write, and keep rows safe from engine crashes."""
