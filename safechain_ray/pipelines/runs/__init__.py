"""What every run has: its folder and record, the try at it on a cluster, and who is told how far it is."""
