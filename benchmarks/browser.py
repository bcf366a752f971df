"""Sites that are served to headless Chromium, for the benchmark of the page and for its tests.

Playwright for Python steers it, where it is installed. Nothing asks the page to evaluate text, which its security
policy forbids.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
MILLISECONDS = 120_000
"""The longest wait for anything."""
LISTEN = """
window.explained = []; window.violations = [];
document.addEventListener("explained", ({ detail }) => window.explained.push(detail));
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
TOLD = """() => {
  const { maps, ...rest } = window.explained.at(-1);
  const plain = ({ name, data, height, width }) => ({ name, height, width, data: Array.from(data) });
  return { ...rest, maps: maps.map(plain) };
}"""


class Quiet(SimpleHTTPRequestHandler):
    """What `python -m http.server` serves with, without a word."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """Let pages go away in the middle of a file."""
        with suppress(ConnectionError):
            super().handle()


@contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only some have it

    with sync_playwright() as started:
        # In containers it runs as root, where its sandbox does not.
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *CAMERA, *arguments])
        yield browser
        browser.close()


class Site:
    """A site that is served, and the pages that are opened on it."""

    def __init__(self, folder: Path, browser: Any) -> None:
        self.folder, self.browser = folder, browser
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://localhost:{self.server.server_port}/"

    def open(self, browser: Any = None, **options: Any) -> Any:
        """A page whose model is ready; it keeps the addresses that it ``asked`` for, and its ``errors``."""
        context = (browser or self.browser).new_context(**options)
        context.set_default_timeout(MILLISECONDS)
        page = context.new_page()
        page.asked, page.errors = [], []
        context.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.add_init_script(LISTEN)
        page.goto(self.address)
        status(page, "Ready for a picture.")
        return page

    def close(self) -> None:
        """Serve no more."""
        self.server.shutdown()
        self.server.server_close()


def status(page: Any, text: str) -> None:
    """Wait for what the page says."""
    page.locator("#status", has_text=text).wait_for(state="attached")


def answer(page: Any, do: Callable[[], Any]) -> dict[str, Any]:
    """What the page explains once something is done to it."""
    before = page.evaluate("() => window.explained.length")
    do()
    for _ in range(MILLISECONDS // 20):
        if page.evaluate("() => window.explained.length") > before:
            told: dict[str, Any] = page.evaluate(TOLD)
            return told
        page.wait_for_timeout(20)
    raise AssertionError(f"nothing was explained: {page.inner_text('#status')}")


def give(page: Any, picture: Path) -> dict[str, Any]:
    """What the page explains of a picture."""
    return answer(page, lambda: page.set_input_files("#file", picture))
