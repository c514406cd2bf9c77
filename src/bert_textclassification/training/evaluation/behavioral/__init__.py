"""Behavioral tests: what must not change a label, what must move a score, what must work."""
