"""Spot nodes: on-demand nodes where a cloud has none, and notices of interruption."""
