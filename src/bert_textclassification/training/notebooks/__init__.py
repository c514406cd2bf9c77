"""Run the notebooks in order, each in its own kernel."""
