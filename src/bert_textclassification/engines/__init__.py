"""Inference engines: token ids in, logits out. One module per engine, with the interface of `base`."""
