"""Labelled texts from files and hub data sets: find, read, split."""
