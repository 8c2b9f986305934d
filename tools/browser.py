"""The browser that the scenario `many` looks at supervisor's web page with, and the ssh of its tunnel."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from tools.shell import Failed, install

# A hosted runner may bring Google's browser instead of Debian's.
BROWSERS = ("chromium", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Browser:
    """Where the browser is, and the program through which tests drive it."""

    program: str
    driver: str


def find() -> Browser | None:
    """Those that this machine has."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    return Browser(program, driver) if program and driver else None


def ensure() -> Browser:
    """Those that this machine has, or Debian's, installed now."""
    if not shutil.which("ssh"):
        install(["openssh-client"], "supervisor's web page is reached through an SSH tunnel")
    if not find():
        install(["chromium", "chromium-driver"], "a real browser looks at supervisor's web page")
    found = find()
    if not found:
        raise Failed("chromium and chromium-driver were installed, but there is no chromium or no chromedriver.")
    return found
