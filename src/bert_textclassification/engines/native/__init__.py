"""The native engine and its kernels in C, one file for each instruction set."""
