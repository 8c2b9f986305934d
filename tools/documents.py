"""The files of the repository that are written from others (`./dev docs`). Needs PyYAML: runs in the environment."""

from __future__ import annotations

import sys
from pathlib import Path

from tools import role_readmes, troubleshooting
from tools.shell import ROOT


def texts() -> dict[Path, str]:
    """Each of them, and what it should say."""
    readmes = {role_readmes.ROLES / role / "README.md": role_readmes.render(role) for role in role_readmes.roles()}
    readme = ROOT / "README.md"
    return {
        **readmes,
        readme: role_readmes.with_table(readme.read_text()),
        troubleshooting.PAGE: troubleshooting.render(),
    }


def main() -> int:
    for path, text in texts().items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
