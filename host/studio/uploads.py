"""What is dropped on the page: bodies with a bound, pictures, arrays."""

from __future__ import annotations

import io
import warnings
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from starlette.requests import Request

from model.datasets.pictures import as_seen
from model.errors import EyespotError, reason
from model.file_kinds import HEAD_BYTES, kind_of

from ..errors import PictureError
from ..model_card import ModelCard

__all__ = ["MAX_MODEL_BYTES", "MAX_PICTURE_BYTES", "array_input", "body", "file_name", "picture"]

MAX_MODEL_BYTES = 64 << 20
MAX_PICTURE_BYTES = 32 << 20
#: Pixels that are decoded: enough for a phone's camera, and for half a second.
MAX_PIXELS = 64_000_000


async def body(request: Request, limit: int) -> bytes:
    """A request's body.

    Raises
    ------
    EyespotError
        If it has more than ``limit`` bytes; then no more than these have been read.
    """
    line = f"the file is too large: {limit >> 20} MiB are possible"
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise EyespotError(line)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise EyespotError(line)
    return bytes(data)


def file_name(request: Request) -> str:
    """The name that the dropped file had, without its folder; text that may be shown."""
    name = PurePath(request.query_params.get("name", "").replace("\\", "/")).name
    shown = "".join(each for each in name if each.isprintable())
    return shown[:100] or "the file"


def picture(data: bytes, name: str, shrink_to: int) -> Image.Image:
    """A picture file as one sees it.

    Parameters
    ----------
    data : bytes
    name : str
        For the text of an error.
    shrink_to : int
        Pixels a side that matter: a photo is decoded at a fraction of its size.

    Raises
    ------
    PictureError
        If it is no picture, damaged, or larger than can be decoded in a moment.
    """
    try:
        # Pillow warns of odd metadata and of large pictures; the bound below is ours.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as opened:
                pixels = opened.width * opened.height
                if pixels > MAX_PIXELS:
                    raise PictureError(
                        f"{name}: the picture is too large: {pixels / 1e6:.0f} megapixels, and "
                        f"{MAX_PIXELS // 1_000_000} are possible"
                    )
                opened.draft(None, (4 * shrink_to, 4 * shrink_to))
                opened.load()
                return as_seen(opened)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name}: the picture is too large") from error
    except EyespotError as error:
        raise PictureError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        kind = kind_of(data[:HEAD_BYTES])
        it_is = "" if kind is None else f": it is {kind}"
        raise PictureError(f"{name}: this is no picture that can be read{it_is}") from error
    except Exception as error:  # what Pillow's decoders raise is in no list
        raise PictureError(f"{name}: the picture is damaged ({reason(error)})") from error


def array_input(data: bytes, name: str, card: ModelCard) -> npt.NDArray[np.int8]:
    """An ``.npy`` file as a model's input: int8, or uint8 pixels.

    Raises
    ------
    PictureError
        If it is no array, or does not fit the model.
    """
    try:
        values: Any = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # what NumPy raises is in no list
        raise PictureError(f"{name}: is no readable .npy file: {reason(error)}") from error
    wanted = card.input.before.shape
    size = int(np.prod(wanted))
    if (
        not isinstance(values, np.ndarray)
        or values.dtype not in (np.int8, np.uint8)
        or values.size != size
    ):
        given = f"{values.dtype} of {values.shape}" if isinstance(values, np.ndarray) else "more"
        raise PictureError(
            f"{name}: {card.name} takes int8 or uint8 of {'x'.join(map(str, wanted))}, not {given}"
        )
    if values.dtype == np.uint8:
        values = (values ^ np.uint8(0x80)).view(np.int8)
    return values.reshape(wanted)
