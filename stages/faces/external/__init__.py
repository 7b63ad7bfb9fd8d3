"""Test sets of other people: their files of pairs, and gathering them."""
