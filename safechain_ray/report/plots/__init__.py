"""Plots of the reports, drawn by matplotlib: one style, two widths, SVG that follows the colours of its page."""
