"""Experiment trackers that receive the progress and the figures of a run: W&B, MLflow, TensorBoard."""
