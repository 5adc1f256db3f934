"""Training data from runs: prompt selection, response selection, and the rows of the data set."""
