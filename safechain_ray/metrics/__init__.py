"""From the rows of a run to its figures: counts that merge, safety metrics, intervals, comparisons, agreement."""
