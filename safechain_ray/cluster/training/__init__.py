"""Workers that train together on Ray: how they stand, start, start again, and tell what happened."""
