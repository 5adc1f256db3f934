"""Hooks into private names of Ray; no other package uses such names. Each hook is optional, and lists its names."""
