"""Metrics: ROC and thresholds, intervals, identification, groups, the similarity model."""
