"""Makes an artifact from labelled texts. Torch, transformers and datasets live here and nowhere else."""
