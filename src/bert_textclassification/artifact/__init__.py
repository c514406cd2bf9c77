"""The model artifact: what training writes and serving reads. The schema of its manifest, and its files on disk."""
