"""How soon the studio's page answers, and whether it ever freezes.

python tests/benchmarks/studio_latency.py [COUNT]

1. From pen up to the answer on the page, with the digits on the simulated board: median and worst
   of COUNT drawings (default: 30).
2. While the simulator is compiled, in an empty cache: the longest time for which the page's own
   thread did nothing, and the longest time in which the server answered a request.

Needs the extra `browser` and the system's Chromium. The figures mean something on an idle machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.sync_api import Browser, Page, sync_playwright

from tests.host.studio.browser import draw, launched

THREE = [[(0.3, 0.2), (0.5, 0.12), (0.68, 0.22), (0.48, 0.48), (0.72, 0.72), (0.3, 0.82)]]

#: In the page: when the last drawing was sent, when its answer came and was drawn; gaps in time.
WATCH = """
window.watch = { up: 0, sent: 0, answered: [], gap: 0, ping: 0 };
const Original = WebSocket;
window.WebSocket = class extends Original {
  constructor(...all) {
    super(...all);
    this.addEventListener("message", (event) => {
      const message = JSON.parse(event.data);
      if (message.type !== "answer" || !watch.up || message.number < watch.sent) return;
      const up = watch.up;
      watch.up = 0;
      requestAnimationFrame(() => watch.answered.push(performance.now() - up));
    });
  }
  send(data) {
    if (typeof data !== "string") watch.sent = new DataView(data.buffer).getUint32(0, true);
    super.send(data);
  }
};
addEventListener("pointerup", () => { watch.up = performance.now(); watch.sent = 1e9; }, true);
let last = performance.now();
setInterval(() => {
  const now = performance.now();
  watch.gap = Math.max(watch.gap, now - last);
  last = now;
}, 5);
setInterval(async () => {
  const began = performance.now();
  await fetch("/page/icon.svg");
  watch.ping = Math.max(watch.ping, performance.now() - began);
}, 50);
"""


@contextmanager
def studio(cache: str | None = None) -> Iterator[str]:
    """The address of a studio in a process of its own, as a user starts it."""
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "XDG_STATE_HOME": state}
        if cache is not None:
            environment["XDG_CACHE_HOME"] = cache
        command = [sys.executable, "-m", "host", "studio", "--no-browser"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        try:
            yield process.stderr.readline().split()[-1]
        finally:
            process.terminate()
            process.communicate()


def opened(browser: Browser, address: str) -> Page:
    page = browser.new_page()
    page.add_init_script(WATCH)
    page.goto(address)
    return page


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with sync_playwright() as playwright, launched(playwright) as browser:
        with studio() as address:
            page = opened(browser, address)
            page.locator(".dot[data-phase=ready]").wait_for(timeout=1_800_000)
            for number in range(count):
                draw(page, THREE)
                page.wait_for_function("(count) => watch.answered.length >= count", arg=number + 1)
                page.locator("[data-testid=clear]").click()
            times = page.evaluate("() => watch.answered")
            print(
                f"from pen up to the answer: median {statistics.median(times):.0f} ms, "
                f"at most {max(times):.0f} ms, of {len(times)} drawings"
            )
        with tempfile.TemporaryDirectory() as cache, studio(cache) as address:
            page = opened(browser, address)
            page.locator(".work", has_text="Starting the board").wait_for()
            # What the page needs to start is over.
            page.evaluate("() => { watch.gap = watch.ping = 0; }")
            page.locator(".dot[data-phase=ready]").wait_for(timeout=1_800_000)
            gap, ping = page.evaluate("() => [watch.gap, watch.ping]")
            print(f"while the simulator is compiled: the page stood still for at most {gap:.0f} ms")
            print(f"                                 the server answered within {ping:.0f} ms")
            page.close()


if __name__ == "__main__":
    main()
