"""Running networks on an NVIDIA GPU, with the driver's own library alone."""
