"""GPU check: tests of a GPU machine in about ten minutes, without internet."""
