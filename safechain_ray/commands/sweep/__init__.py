"""Many models, each a run of its own: what they will cost, which go when, and how far each is."""
