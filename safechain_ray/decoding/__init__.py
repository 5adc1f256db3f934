"""Decoding strategies: how the thinking is steered, and how a response is split into thought and answer."""
