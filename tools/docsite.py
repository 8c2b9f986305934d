"""The documentation site below .cache/docs-site: the guides, then what `ansible-doc` shows of roles, modules and filters."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.shell import CACHE, ROOT, logged

SITE = CACHE / "docs-site"
#: Pages that replace those which antsibull-docs writes: it puts modules, which only the roles use, before the roles.
OWN_PAGES = ("index.rst", "internals.rst")
#: Pictures that the pages show. A page names them by their path in the repository.
PICTURES = ("architecture.svg", "supervisor-web-page.png")


def build(log: Path) -> None:
    """Write all pages again. A warning is an error: so is a link that leads nowhere."""
    shutil.rmtree(SITE, ignore_errors=True)
    pages = SITE / "rst"
    pages.mkdir(parents=True)
    logged(log, "antsibull-docs", "lint-collection-docs", "--plugin-docs", "--check-extra-docs-refs", ROOT)
    logged(
        log, "antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error", "--dest-dir", pages,
        "pygun.stack",
    )  # fmt: skip
    for name in OWN_PAGES:
        shutil.copy(ROOT / "docs" / name, pages)
    for name in PICTURES:
        shutil.copy(ROOT / "docs" / name, SITE)
    logged(
        log, "sphinx-build", "--quiet", "--fail-on-warning", "--keep-going", "--jobs", "auto", "--conf-dir", ROOT / "docs",
        pages, SITE / "html",
    )  # fmt: skip
