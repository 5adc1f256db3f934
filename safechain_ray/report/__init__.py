"""What a person reads of a run: tables for the terminal and plain logs."""
