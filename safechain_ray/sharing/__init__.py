"""A run for other people and tools: as a data set of the Hugging Face hub, and as logs of Inspect."""

SAMPLES_PER_LOG = 5_000
"""Most samples of a log of Inspect, by default. Its writer (0.3.285) holds all of them, and compares each new sample
with all before it: 20,000 samples take 80 s of a core in logs of 10,000, and 36 s in logs of 2,000."""
