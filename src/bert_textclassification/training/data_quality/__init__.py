"""Checks of labelled texts: what is doubtful, and which rows leave train for it."""
