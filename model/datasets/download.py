"""Download a file, and check its size and checksum."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable

from model.errors import DataError, reason

__all__ = ["TIMEOUT", "download"]

TIMEOUT = 30.0
"""Seconds without a byte after which to give up."""

_CHUNK = 1 << 16


def download(
    url: str,
    *,
    size: int,
    sha256: str,
    timeout: float = TIMEOUT,
    progress: Callable[[int, int], None] | None = None,
) -> bytes:
    """Fetch a file.

    Parameters
    ----------
    url : str
        An http or https URL; proxies are taken from the environment.
    size : int
        Its size in bytes; at most one chunk more is read.
    sha256 : str
        Its checksum, in hexadecimal digits.
    timeout : float
        Seconds to wait for the connection, and for each next byte.
    progress : callable, optional
        Called with the number of bytes received and `size`.

    Raises
    ------
    DataError
        If the file cannot be downloaded, or is not the expected one. The text has the reason only.
    """
    content = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            while len(content) <= size and (chunk := response.read(_CHUNK)):
                content += chunk
                if progress is not None:
                    progress(min(len(content), size), size)
    except urllib.error.HTTPError as error:
        # The error is a response with an open connection.
        error.close()
        raise DataError(f"the server says {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise DataError(f"nothing came for {timeout:g} s") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise DataError(f"no connection within {timeout:g} s") from error
        why = reason(error.reason) if isinstance(error.reason, Exception) else error.reason
        raise DataError(f"no connection: {why}") from error
    except (http.client.HTTPException, OSError) as error:
        raise DataError(f"the connection broke off: {reason(error)}") from error
    except Exception as error:  # as of a proxy's address that is none
        raise DataError(f"it cannot be asked for: {reason(error)}") from error
    if len(content) < size:
        raise DataError(f"the connection broke off after {len(content):,} of {size:,} bytes")
    if len(content) > size or hashlib.sha256(content).hexdigest() != sha256:
        raise DataError("what came is another file: its checksum is wrong")
    return bytes(content)
