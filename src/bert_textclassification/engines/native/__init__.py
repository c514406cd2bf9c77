"""The native engine and its C kernels, one file per instruction set."""
