"""The model artifact that training writes and serving reads: the schema of its manifest, and its files on disk."""
