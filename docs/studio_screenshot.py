"""The pictures of docs/studio.md, taken from the running page.

python -m docs.studio_screenshot

Needs the extra ``browser`` and the system's Chromium. It starts the studio on the simulated board,
uses it as the page says, and writes ``docs/studio-run.png``, ``-inside.png`` and ``-teach.png``.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from host.studio.server import Bench
from host.studio.serving import Serving
from model.datasets import datasets

_FOLDER = Path(__file__).parent
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--force-color-profile=srgb")
_PICTURES = 40
#: A three, in shares of the pad's sides.
_THREE = (
    *((0.3, 0.24), (0.36, 0.16), (0.46, 0.11), (0.57, 0.13), (0.66, 0.2), (0.68, 0.3), (0.62, 0.4)),
    *(
        (0.5, 0.47),
        (0.62, 0.52),
        (0.71, 0.62),
        (0.7, 0.75),
        (0.6, 0.85),
        (0.47, 0.89),
        (0.33, 0.84),
    ),
)


@contextmanager
def _served(folder: Path) -> Iterator[Serving]:
    serving = Serving(Bench("sim://icebreaker?memory=fresh", folder), "digits")
    begun = threading.Event()
    thread = threading.Thread(target=serving.run, args=[begun.set])
    thread.start()
    try:
        begun.wait()
        yield serving
    finally:
        serving.stop()
        thread.join()


def _draw(page: Page) -> None:
    box = page.locator("canvas.pad:visible").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in _THREE]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def _save(page: Page, name: str) -> None:
    """With the page's colours alone, which makes the file small."""
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        _FOLDER / f"studio-{name}.png", optimize=True
    )


def _collect(serving: Serving) -> None:
    """Two of the digits as classes."""
    digits = datasets.load("mnist-5k")
    collection = serving.bench.teaching.collection
    for label, name in ((3, "three"), (8, "eight")):
        collection.add_class(name)
        for pixels in digits.x_train[digits.y_train == label][:_PICTURES]:
            collection.add(name, Image.fromarray(pixels[..., 0]))


def main() -> int:
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        print("there is no Chromium", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory() as folder,
        _served(Path(folder)) as serving,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=browser_path, args=[*_ARGUMENTS])
        page = browser.new_page(viewport={"width": 1280, "height": 760}, device_scale_factor=1.5)
        page.goto(serving.address)
        page.locator(".dot[data-phase=ready]").wait_for(timeout=120_000)
        _draw(page)
        page.locator("[data-testid=label]", has_text="3").wait_for()
        _save(page, "run")
        page.locator("#tab-inside").click()
        page.locator("[data-testid=verdict]").wait_for()
        page.locator(".layers button").nth(2).click()
        page.locator("canvas.maps").click(position={"x": 39, "y": 14})
        page.locator("[data-testid=byte]").first.wait_for()
        page.set_viewport_size({"width": 1280, "height": 1180})
        _save(page, "inside")
        _collect(serving)
        page.set_viewport_size({"width": 1280, "height": 900})
        page.reload()
        page.locator("#tab-teach").click()
        page.get_by_role("button", name="Draw").last.click()
        _draw(page)
        page.get_by_label("Size").select_option("16")
        page.locator("[data-testid=train]").click()
        page.locator("[data-testid=accuracy]").wait_for(timeout=120_000)
        _save(page, "teach")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
