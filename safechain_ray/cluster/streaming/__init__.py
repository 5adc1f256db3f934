"""The stream of one stage: its rows in fair order, its pools as nodes come and go, its files and its counters."""
