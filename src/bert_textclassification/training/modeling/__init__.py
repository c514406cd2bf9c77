"""The classifier, the base models it starts from, its losses, and how it is written for each engine."""
