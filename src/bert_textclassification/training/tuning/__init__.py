"""Search for the best settings with Optuna."""
