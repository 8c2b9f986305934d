# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What pygun.py tells the Runtime and gunicorn, worked out of variables as Ansible does it: an expression alone keeps its type."""

import re
from pathlib import Path

import yaml

VARS = yaml.safe_load((Path(__file__).parents[2] / "roles" / "flask_app" / "vars" / "main.yml").read_text())


NAMES = ("__flask_app_runtime", "__flask_app_server")


def told_by_pygun_py(environment, values):
    """The variables of `NAMES` with these values of other variables."""

    def worked_out(text):
        alone = re.fullmatch(r"\{\{ (.*) \}\}", text)
        if alone:
            return environment.compile_expression(alone[1])(values)
        return environment.from_string(text).render(values)

    return {name: {key: worked_out(text) for key, text in VARS[name].items()} for name in NAMES}
