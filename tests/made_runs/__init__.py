"""Finished runs in a folder, made without a cluster: each file makes them of what its tests are about."""
