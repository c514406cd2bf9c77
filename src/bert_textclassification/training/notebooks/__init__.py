"""The notebooks as a batch: in order, each executed in a kernel of its own."""
