"""Ray Data pipelines, the planner of their pools, their progress and their watchdog."""
