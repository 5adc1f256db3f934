"""What each command does. `cli` reads its flags, and `report` shows its results."""
