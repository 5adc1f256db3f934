"""The only package that uses private names of Ray: optional hooks, each with a list of the names that it needs."""
