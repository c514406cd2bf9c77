"""What each step from the usual recipe to the served model gains, measured in one run."""
