"""Decoding strategies: control of the thought while decoding, and the split of a response into thought and answer."""
