"""What a file is that is not what it was taken for, told by how it begins."""

from __future__ import annotations

import os
import re
from typing import Final

from model.errors import reason

__all__ = ["HEAD_BYTES", "file_kind", "kind_of", "refusal"]

HEAD_BYTES: Final = 4096
"""Bytes from the beginning of a file that tell its kind."""

_LONGEST_LINE: Final = 40

_LFS_POINTER: Final = "a Git LFS pointer, not the file itself; `git lfs pull` fetches that"

_BEGINNINGS: Final = (
    (rb"version https://git-lfs\.github\.com/spec/", _LFS_POINTER),
    (rb"(\.\./)*(\.git)?/annex/objects/", "a git-annex pointer; `git annex get` fetches the file"),
    (
        rb"(?i)(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*"
        rb"<(!doctype html|html|head|body|title|meta|script)\b",
        "an HTML page, not the file that it shows; fetch that by its direct link",
    ),
    (
        rb"(?is)(\xef\xbb\xbf)?\s*(<\?xml.{0,1000}?)?<svg\b",
        "an SVG drawing; export it with pixels, as PNG",
    ),
    (rb"(?i)\s*<\?xml", "an XML file"),
    (
        rb"(?s)....ftyp(heic|heix|heim|heis|hevc|hevx|hevm|hevs|mif1|msf1)",
        "a HEIC picture, as phones take them; save it as JPEG or PNG",
    ),
    (rb"(?s)....ftyp(avif|avis)", "an AVIF picture, which this Pillow does not read"),
    (rb"(?s)....ftyp", "a video; export single pictures from it, as JPEG or PNG"),
    (rb"\x1a\x45\xdf\xa3|RIFF....AVI ", "a video; export single pictures from it, as JPEG or PNG"),
    (
        rb"(?s)\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n",
        "a JPEG XL picture; save it as JPEG or PNG",
    ),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|(?s:RIFF....WEBP)", "a picture"),
    (rb"(?s)RIFF....WAVE|OggS|fLaC|ID3", "a sound"),
    (rb"%PDF-", "a PDF document"),
    (rb"(?s)....TFL3", "a .tflite model"),
    (rb"(?s)\x08[\x00-\x1f](\x12|:)", "an ONNX model"),
    (rb"\x89HDF\r\n", "an HDF5 file, as Keras writes them (.h5)"),
    (rb"\x93NUMPY", "one array, an .npy file"),
    (rb"(?s)PK\x03\x04.{26}[^\x00]{0,200}?data\.pkl", "a PyTorch file"),
    (
        rb"(?s)PK\x03\x04.{26}(metadata\.json|config\.json|model\.weights\.h5)",
        "a Keras model (.keras)",
    ),
    (rb"(?s)PK\x03\x04.{26}[^\x00]{1,200}?\.npy", "NumPy's .npz file"),
    (
        rb"PK\x03\x04|PK\x05\x06|\x1f\x8b|BZh|\xfd7zXZ\x00|7z\xbc\xaf\x27\x1c|Rar!"
        rb"|\x28\xb5\x2f\xfd|(?s:.{257}ustar)",
        "an archive; unpack it first",
    ),
    (rb"\x7fELF|MZ", "a program"),
)
"""How files begin, and what they then are; the first that fits counts."""

_C_ARRAY: Final = re.compile(rb"(char|int8_t|uint8_t)\s+[\w\s()]*\[\s*\d*\s*\]")


def kind_of(head: bytes) -> str | None:
    """What a file is that begins with `head`, as one says it; None if that is not known.

    The words go behind "it is": ``a Git LFS pointer, …``.

    Parameters
    ----------
    head : bytes
        The first `HEAD_BYTES` bytes of it, or all.
    """
    if not head:
        return "empty"
    if not head.strip(b"\0"):
        return "nothing but zeros, as a copy that was cut off is"
    for beginning, kind in _BEGINNINGS:
        if re.match(beginning, head):
            return kind
    if _C_ARRAY.search(head):
        return "C source with an array in it; the file that it was made from is needed"
    return _as_text(head)


def _as_text(head: bytes) -> str | None:
    try:
        # A letter may be cut off at the end.
        text = head.decode() if len(head) < HEAD_BYTES else head[:-4].decode(errors="ignore")
    except UnicodeDecodeError:
        return None
    text = text.removeprefix("\ufeff")
    lines = text.strip().splitlines()
    if not lines or not all(each.isprintable() or each.isspace() for each in text):
        return None
    line = lines[0].strip()
    shown = line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
    return f"a text file ({shown!r})"


def file_kind(path: str | os.PathLike[str]) -> str | None:
    """The same for a file; None also if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return kind_of(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        return None


def refusal(path: str | os.PathLike[str], error: Exception, says: str, own: str) -> str:
    """The line for a file that cannot be read, without its name.

    Parameters
    ----------
    path : str or path
    error : Exception
        Whatever the decoder raised.
    says : str
        What is said if it is the file's fault, as ``is no readable .npz file``.
    own : str
        A part of the words of `kind_of` for a file of the right kind, as ``.npz``.

    Returns
    -------
    str
        The system's word where it does not give the file; else `says` and what the file is, or what
        the decoder has against it.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    kind = file_kind(path)
    return f"{says}: {reason(error) if kind is None or own in kind else f'it is {kind}'}"
