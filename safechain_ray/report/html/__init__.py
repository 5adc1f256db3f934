"""A run's report as one HTML file: figures, plots, facts and a sample browser, without network access."""
