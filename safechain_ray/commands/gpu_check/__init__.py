"""The GPU check: what can be proven of a GPU machine in ten minutes, without internet."""
