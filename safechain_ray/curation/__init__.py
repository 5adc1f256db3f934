"""Training data from a run: which prompts are asked, which responses are kept, and what of them is written."""
