"""A real Chromium for the tests of this folder; where none is found they are skipped, with what to do."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ENV = "SAFECHAIN_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

FLAGS = (
    "--no-sandbox",  # Chromium's own sandbox does not work for root, nor in most containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Opened:
    """A page with what it asked of the network and what went wrong in it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Closed with its module: as long as it lives, Playwright's loop runs in this thread, and no other can."""
    found = os.environ.get(ENV) or next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        path = found or playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.skip(
                "no Chromium: install one (apt install chromium, or .venv/bin/playwright install chromium), "
                f"or name one in {ENV}"
            )
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Opens a file. In the end no page may have asked the network for anything, opened a dialog or logged an error."""
    opened: list[tuple[Path, Opened]] = []

    def open_file(
        path: Path, scheme: str = "light", width: int = 1280, height: int = 900, fragment: str = "", before: str = ""
    ) -> Opened:
        """`before` is a script that runs before those of the page."""
        context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
        one = Opened(context.new_page())
        opened.append((path, one))
        context.on("request", lambda request: one.requests.append(request.url))
        one.page.on("console", lambda message: one.troubles.append(f"{message.type}: {message.text}"))
        one.page.on("pageerror", lambda error: one.troubles.append(f"error: {error}"))
        one.page.on("dialog", lambda dialog: (one.troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        if before:
            one.page.add_init_script(before)
        one.page.goto(path.as_uri() + fragment)
        return one

    yield open_file
    for path, one in opened:
        asked = [url for url in one.requests if url.partition("#")[0] != path.as_uri() and not url.startswith("data:")]
        one.page.context.close()
        assert (asked, one.troubles) == ([], [])
