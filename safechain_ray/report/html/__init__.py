"""A run's report as one HTML file: figures, plots, facts and a sample browser, with nothing fetched from anywhere."""
