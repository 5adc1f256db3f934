"""All that knows Ray Data: the thin callables of the stream, the planner, the tally and the watchdog."""
