"""The one exception of the DSL."""

from __future__ import annotations


class ModelError(ValueError):
    """A model or a layer that cannot be; the message is one line: which layer, what was expected, what was given."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # one line, whatever names and arguments hold
