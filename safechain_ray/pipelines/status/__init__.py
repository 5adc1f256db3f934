"""How far a run or a sweep is, read from its folder alone."""
