"""Make the README's pictures from the real thing: the quickstart in a real kernel, drawn as Slack draws it.

``python docs/make_pictures.py`` from the top folder, with the ``test`` extra and Debian's chromium installed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from cwnotify.demo.notebook import EXPECTED, execute
from cwnotify.demo.slack import SlackStandIn

PICTURES = Path(__file__).with_name("pictures")
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def main() -> None:
    """Run the quickstart and photograph what arrived."""
    with tempfile.TemporaryDirectory() as home, SlackStandIn() as slack, sync_playwright() as playwright:
        os.environ |= {"CWNOTIFY_WEBHOOK_URL": slack.webhook_url, "CWNOTIFY_STATE_DIR": home}
        execute(Path("notebooks/quickstart.ipynb"))
        slack.wait_for(lambda message: len(slack.messages) == len(EXPECTED), 20)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        page = browser.new_page(viewport={"width": 860, "height": 900}, device_scale_factor=1.5)
        page.goto(slack.page_url)
        page.locator("#messages").screenshot(path=PICTURES / "alerts.png")
        browser.close()


if __name__ == "__main__":
    main()
