"""What runs a model: token ids in, logits out. One module for each engine, behind the interface of `base`."""
