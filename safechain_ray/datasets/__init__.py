"""Data sets as prompts: files in any common format, the Hugging Face hub, and the set that comes with the package."""
