"""The artifact folder: `manifest.json`, `kernels.so` and `weights.safetensors`."""
