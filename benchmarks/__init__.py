"""How fast the pipeline is, as ratios to other ways of doing the same work. Nothing here is used by the pipeline."""
