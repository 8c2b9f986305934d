"""Writes plugins/plugin_utils/gunicorn_settings.py from the gunicorn that is installed in the environment.

`./dev run python -m tools.gunicorn_settings`, after a new version of gunicorn has been pinned.
"""

from __future__ import annotations

import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "plugins" / "plugin_utils" / "gunicorn_settings.py"

HEAD = '''\
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of gunicorn {version}: what kind of value each takes. Written by tools/gunicorn_settings.py."""

from __future__ import annotations

VERSION = "{version}"

#: Name in the configuration file, and the name of gunicorn's own check of its value.
SETTINGS = {{
{settings}
}}

#: Long names on gunicorn's command line that differ from the name in the file.
COMMAND_LINE = {{
{command_line}
}}
'''


def render() -> str:
    """The text of the file."""
    import gunicorn
    from gunicorn.config import KNOWN_SETTINGS

    settings = {
        setting.name: setting.validator.__name__.lstrip("_").removeprefix("validate_") for setting in KNOWN_SETTINGS
    }
    command_line = {}
    for setting in KNOWN_SETTINGS:
        for option in setting.cli or ():
            name = option.lstrip("-").replace("-", "_")
            if option.startswith("--") and name != setting.name:
                command_line[name] = setting.name

    def lines(table: dict) -> str:
        return "\n".join(f'    "{name}": "{value}",' for name, value in sorted(table.items()))

    return HEAD.format(version=gunicorn.__version__, settings=lines(settings), command_line=lines(command_line))


def main() -> int:
    TARGET.write_text(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
