"""Serve predictions from an artifact. Nothing here may import torch, transformers, datasets, pandas or `training`."""
