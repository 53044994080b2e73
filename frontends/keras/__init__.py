"""Reading of .keras files, without Keras: the architecture in config.json becomes a DSL model, its weights come from
the HDF5 file beside it. Nothing in a file is run: what needs code (Lambda, custom layers) is refused."""

from convc.frontends.keras.load import load

__all__ = ["load"]
