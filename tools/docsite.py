"""The documentation site: what `ansible-doc` shows of roles, modules and filters, as web pages below .cache/docs-site."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.shell import CACHE, ROOT, logged

SITE = CACHE / "docs-site"


def build(log: Path) -> None:
    """Write the pages anew. A warning is an error: so is a link that leads nowhere."""
    shutil.rmtree(SITE, ignore_errors=True)
    pages = SITE / "rst"
    pages.mkdir(parents=True)
    logged(log, "antsibull-docs", "lint-collection-docs", "--plugin-docs", "--check-extra-docs-refs", ROOT)
    logged(
        log, "antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error", "--dest-dir", pages,
        "pygun.stack",
    )  # fmt: skip
    logged(
        log, "sphinx-build", "--quiet", "--fail-on-warning", "--keep-going", "--jobs", "auto", "--conf-dir", ROOT / "docs",
        pages, SITE / "html",
    )  # fmt: skip
