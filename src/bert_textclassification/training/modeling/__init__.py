"""The classifier, its base models and losses, and its export for each engine."""
