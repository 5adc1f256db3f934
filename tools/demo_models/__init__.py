"""Makes the two demo models and their data sets: corpus, tokenizers, training. Not part of the package."""
