"""The one exception of the frontend."""


class ImportProblem(Exception):
    """A model that convc cannot take; the message says what was expected, what was found, and where."""
