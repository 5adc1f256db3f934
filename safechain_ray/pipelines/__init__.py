"""What the commands do, from the first prompt to the last figure."""
