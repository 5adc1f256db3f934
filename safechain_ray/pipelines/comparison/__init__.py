"""Finished runs against each other: by their figures, problem by problem, and by a judge's preference."""
