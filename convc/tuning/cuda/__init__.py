"""Tuning for GPUs in two halves: candidates are compiled where the compiler is, and measured where the GPU is."""
