"""A run for other people and tools: as a data set of the Hugging Face hub, and as logs of Inspect."""
