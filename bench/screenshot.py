"""`make screenshot`: the first screens of reports/report.html as docs/screenshot.png."""

from __future__ import annotations

from bench.page import browser
from page.__main__ import REPORT
from stages.shared import errors, files
from stages.shared.errors import UserError

PICTURE = files.ROOT / "docs" / "screenshot.png"
SIZE = {"width": 1280, "height": 1180}


def main() -> None:
    """Take it."""
    from playwright.sync_api import sync_playwright

    if browser() is None:
        raise UserError("no Chromium here: install it (Debian: apt-get install chromium)")
    with sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=browser())
        tab = chromium.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        tab.goto((files.REPORTS / REPORT).as_uri())
        tab.screenshot(path=PICTURE)
        chromium.close()
    print(f"{files.relative(PICTURE)}, {PICTURE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    errors.run(main)
