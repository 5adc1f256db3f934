"""From prompts to a training set in a folder or on the hub."""
