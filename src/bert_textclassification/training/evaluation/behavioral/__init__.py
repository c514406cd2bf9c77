"""Behavioral tests: invariance of labels, direction of score changes, minimum functionality."""
