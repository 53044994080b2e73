"""CUDA: GPUs from compute capability 8.0."""
