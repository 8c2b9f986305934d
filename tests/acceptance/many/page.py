# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""supervisor's web page as a person at a laptop sees it: through the SSH tunnel of the guide to daily operation, in a real browser."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from site_of_many import Site

from tools.browser import Browser

USER, PASSWORD = "operator", "only-for-this-test"


class Tunnel:
    """ssh -N -L PORT:127.0.0.1:9001 root@HOST, with a key made for it. Use as a context."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.key = site.scratch / "key"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def __enter__(self) -> Tunnel:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.site.run(
            "sh", "-c", "umask 077; mkdir -p /root/.ssh; cat > /root/.ssh/authorized_keys",
            text=self.key.with_suffix(".pub").read_text(),
        )  # fmt: skip
        self.process = subprocess.Popen(
            [
                "ssh", "-F", "none", "-i", self.key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
                "-o", f"UserKnownHostsFile={self.key}.known", "-o", "ExitOnForwardFailure=yes",
                "-N", "-L", f"{self.port}:127.0.0.1:9001", f"root@{self.site.address()}",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self.is_open():
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline, "the tunnel does not open"
            time.sleep(0.1)
        return self

    def is_open(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)


class Page:
    """The page in a browser window. Use as a context.

    Credentials in the address are what a browser answers the server's challenge with, as if they were typed into its
    dialog; from then on it sends them by itself, as with the dialog. A headless browser has no dialog.
    """

    def __init__(self, browser: Browser, port: int) -> None:
        self.here = f"127.0.0.1:{port}"
        options = webdriver.ChromeOptions()
        options.binary_location = browser.program
        # A page that shows the end of a log as it grows never ends to load: waiting is done here.
        options.page_load_strategy = "none"
        for argument in ("--headless=new", "--no-proxy-server", "--disable-dev-shm-usage", "--window-size=1100,480"):
            options.add_argument(argument)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # it refuses to sandbox what root runs
        self.driver = webdriver.Chrome(options=options, service=Service(browser.driver))

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def open(self, credentials: str = "") -> int:
        """Open the page; the status of the answer."""
        self.driver.get("about:blank")
        self.driver.get(f"http://{credentials}@{self.here}/" if credentials else f"http://{self.here}/")
        return self.wait(self._status, "an answer")

    def _status(self) -> int:
        # A refusal without a text of its own is a page of the browser's.
        told = self.driver.execute_script(
            "return location.href != 'about:blank' && document.readyState == 'complete'"
            " ? performance.getEntriesByType('navigation')[0].responseStatus : 0"
        )
        return int(told or 0)

    def log_in(self) -> None:
        """With the right password; after that the address holds none."""
        assert self.open(f"{USER}:{PASSWORD}") == 200
        assert self.open() == 200

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 120):
        """The first true value of a condition; what is being loaded may not have what it asks for yet."""
        deadline = time.monotonic() + seconds
        problem: Exception | None = None
        while time.monotonic() < deadline:
            try:
                if found := condition():
                    return found
            except WebDriverException as error:
                problem = error
            time.sleep(0.05)
        raise AssertionError(f"the browser does not come to {what}: {problem or self.text()}")

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def rows(self) -> dict[str, list[str]]:
        """Name of a process -> the texts of its row: state, description, name, actions."""
        rows = self.driver.find_elements(By.CSS_SELECTOR, "table tbody tr")
        cells = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]
        return {row[2]: row for row in cells}

    def follow(self, process: str, link: str) -> None:
        """Click a link in the row of a process."""
        for row in self.driver.find_elements(By.CSS_SELECTOR, "table tbody tr"):
            cells = row.find_elements(By.TAG_NAME, "td")
            if cells[2].text == process:
                row.find_element(By.LINK_TEXT, link).click()
                return
        raise AssertionError(f"there is no {process} in {self.rows()}")

    def newest_window(self) -> None:
        """Logs open in a window of their own."""
        self.wait(lambda: len(self.driver.window_handles) == 2, "a second window")
        self.driver.switch_to.window(self.driver.window_handles[-1])

    def picture(self, path: Path) -> None:
        """All of the page: the window is made as large as that takes."""
        across, down, needed = self.driver.execute_script(
            "return [outerWidth - innerWidth, outerHeight - innerHeight, document.documentElement.scrollHeight]"
        )
        self.driver.set_window_size(1100 + across, needed + down)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))
