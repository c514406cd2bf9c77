"""Measurements of models, servers and training. Nothing imports this package; the serving image does not contain it."""
