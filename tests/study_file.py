"""A file of experiments for the tests of `faces study` and `faces job`."""

STUDY = """
title: Two runs.
seeds: [0, 4]
all: {train.epochs: 3}
runs:
  first: {}
  second one: {after: first, train.epochs: 2, sources: {mine: {path: a b}}}
rows:
  floor: {run: first, figures: {AUC: metrics/x.json low}}
figures: {AUC: metrics/x.json auc, EER: metrics/x.json eer}
gap: {figure: AUC, of: [second one, first]}
"""
