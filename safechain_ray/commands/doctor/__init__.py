"""The doctor command: checks of a model, a judge and an installation, without a GPU and without loading weights."""
