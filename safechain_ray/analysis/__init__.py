"""What a run's figures hide: thought against answer, length, sample count, truncation, refusals, first unsafe piece."""
