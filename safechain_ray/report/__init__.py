"""Reports: documents of figures, their renderers, and progress displays."""
