"""What can go wrong for a user, as exceptions whose text is one clear line.

A command line catches :class:`EyespotError`, prints it, and exits non-zero. Mistakes of a
programmer stay ``TypeError`` and ``ValueError``.
"""

__all__ = ["DataError", "EyespotError", "ModelError", "OutputError", "TrainingError"]


class EyespotError(Exception):
    """Base of every error that the user can cause and can mend."""


class ModelError(EyespotError):
    """A network that cannot be read, written or run: the text names file, layer and reason."""


class DataError(EyespotError):
    """A data set that cannot be used: the text names the data set and the reason."""


class TrainingError(EyespotError):
    """Training that cannot go on: the text says where it stands, and what may help."""


class OutputError(EyespotError):
    """A file that cannot be written."""
