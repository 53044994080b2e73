"""The half of benchmarks/cuda.py that runs on a machine with a GPU, on numpy, torch and convc's run-time alone."""
