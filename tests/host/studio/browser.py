"""Chromium for the tests of the page, with a camera that plays a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright", reason="the extra `browser` is not installed")

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

__all__ = ["chromium", "draw", "launched", "sync_playwright", "video"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


def chromium() -> str:
    """The system's Chromium; without one, the test is skipped."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    return found


@contextmanager
def launched(playwright: Playwright, camera: Path | None = None) -> Iterator[Browser]:
    """A browser, whose camera plays a file if there is one."""
    arguments = [*_ARGUMENTS]
    if camera is not None:
        arguments.append(f"--use-file-for-fake-video-capture={camera}")
    browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
    try:
        yield browser
    finally:
        browser.close()


def video(path: Path, frames: list[np.ndarray], rate: int) -> Path:
    """Write pictures of uint8, shape (height, width, 3) in RGB, as a y4m file."""
    height, width, _ = frames[0].shape
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            r, g, b = (frame[..., each].astype(float) for each in range(3))
            y = 0.299 * r + 0.587 * g + 0.114 * b
            planes: list[Any] = [y, (b - y) / 1.772 + 128, (r - y) / 1.402 + 128]
            planes[1:] = [plane[::2, ::2] for plane in planes[1:]]
            file.write(b"FRAME\n")
            for plane in planes:
                file.write(plane.clip(0, 255).round().astype(np.uint8).tobytes())
    return path


def draw(page: Page, strokes: list[list[tuple[float, float]]]) -> None:
    """Draw with the mouse; points are shares of the pad's sides."""
    box = page.locator("canvas.pad").bounding_box()
    assert box is not None
    for points in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=3)
        page.mouse.up()
