"""Take a picture of an HTML page in a real Chromium, for docs/pictures.

Example:
    python scripts/picture.py runs/demo/report.html docs/pictures/figures.png --section figures
    python scripts/picture.py runs/demo/report.html docs/pictures/phone.png --width 390 --height 760
"""

import argparse
import os
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")  # root has no sandbox in most containers


def main() -> None:
    parser = argparse.ArgumentParser(description="Take a picture of an HTML page.")
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path, help="the PNG file")
    parser.add_argument("--section", help="id of the element at the top of the picture; the page's top by default")
    parser.add_argument("--click", help="a CSS selector that is clicked before")
    parser.add_argument("--width", type=int, default=1200, help="pixels")
    parser.add_argument("--height", type=int, default=760, help="pixels")
    parser.add_argument("--dark", action="store_true", help="the dark scheme of colours")
    options = parser.parse_args()
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        program = os.environ.get("SAFECHAIN_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        page = browser.new_page(
            viewport={"width": options.width, "height": options.height},
            color_scheme="dark" if options.dark else "light",
        )
        page.goto(options.page.resolve().as_uri())
        if options.click:
            page.locator(options.click).first.click()
        if options.section:
            page.locator(f"#{options.section}").evaluate("node => node.scrollIntoView({behavior: 'instant'})")
        page.wait_for_timeout(500)
        page.screenshot(path=options.picture)
        browser.close()
    print(options.picture)


if __name__ == "__main__":
    main()
