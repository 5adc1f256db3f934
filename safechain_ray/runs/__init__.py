"""A run: its folder, its record, its plan, and the one loop that runs every workload."""
