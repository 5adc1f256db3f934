"""What a Ray cluster of tests is started without."""

LEAN = {"include_dashboard": False, "include_log_monitor": False}
"""Arguments of the head node. The dashboard is a dozen processes, and no test reads it or the drivers' logs."""
