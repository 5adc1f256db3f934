"""The commands. `cli` reads their flags, and `report` shows their results."""
