"""Benchmarks of models, servers and training. No other package imports this one; the serving image leaves it out."""
