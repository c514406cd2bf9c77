"""Load tests of the running server."""
