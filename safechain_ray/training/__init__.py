"""Supervised fine-tuning: demonstrations become tokens with a loss mask, and a model learns them."""
