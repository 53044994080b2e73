"""Tuning: measure how kernels can be computed, remember the times, and let `select` choose by them."""
