"""Fine-tuning: from a config to a model in a folder, and the record of how it went."""
