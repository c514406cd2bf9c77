"""The notebooks as a batch: their parameters, and how each is executed."""
