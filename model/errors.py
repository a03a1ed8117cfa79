"""What can go wrong for a user, as exceptions whose text is one clear line.

A command line catches :class:`EyespotError`, prints it, and exits non-zero. Mistakes of a
programmer stay ``TypeError`` and ``ValueError``, but for those that other people's code raises at
the borders (a file is opened and decoded, a port is opened, a folder is looked for): what can come
there is in no list, so a border turns whatever comes into one of these errors, with `reason`.
"""

__all__ = ["DataError", "EyespotError", "ModelError", "OutputError", "TrainingError", "reason"]


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


_LONGEST_REASON = 200


def reason(error: BaseException) -> str:
    """Why something failed, in a few words of one line: what the system says, or the error."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    words = " ".join(str(text).split())
    return words if len(words) <= _LONGEST_REASON else words[: _LONGEST_REASON - 1] + "…"
