"""Pruning: which channels of a network go, and the smaller network."""
