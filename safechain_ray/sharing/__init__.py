"""A run for other people and tools: as a data set of the Hugging Face hub, and as logs of Inspect."""

SAMPLES_PER_LOG = 10_000
"""Most samples of a log of Inspect, by default: its writer takes them at once, and its viewer lists them at once."""
