"""Studies: a file each, what runs them, and the tables they left. Nothing here is used by the pipeline."""
