"""A service on Kubernetes, from the manifests beside this file."""
