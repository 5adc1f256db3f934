"""Commands that stand in a file of their own; `cli.py` adds them to the rest."""
