# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apps that gunicorn, Flask or Python cannot import, each with the code of its symptom; one process of Python for each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FLASK = "from flask import Flask\napp = Flask(__name__)\n"
HUNG = FLASK + "import faulthandler\nfaulthandler.dump_traceback_later(0.3, exit=True)\napp.run(port=0)\n"
LATE = "import faulthandler\nfaulthandler.dump_traceback_later(0.3, exit=True)\n"
SILENT = "import socket, http.client\nserver = socket.create_server(('127.0.0.1', 0))\n"
SILENT += (
    "caller = http.client.HTTPConnection(*server.getsockname())\ncaller.request('GET', '/')\ncaller.getresponse()\n"
)
DIALECT = "class NoSuchModuleError(Exception): ...\n"
DIALECT += 'raise NoSuchModuleError("Can\'t load plugin: sqlalchemy.dialects:postgres")\n'  # SQLAlchemy is not among what the tests need
LOG_FILE = (
    "import logging.config\nhandlers = {'file': {'class': 'logging.FileHandler', 'filename': '/no/such/app.log'}}\n"
)
LOG_FILE += "logging.config.dictConfig({'version': 1, 'handlers': handlers})\n"
ASYNC = """
import asyncio
async def answer():
    return asyncio.run(later())
async def later():
    ...
asyncio.run(answer())
"""
#: The code of the symptom, the text of wsgi.py, and what flask_app_wsgi names.
APPS: dict[str, tuple[str, str, str]] = {
    "a_variable_of_the_environment": ("variable-missing", "import os\nos.environ['TOKEN']\n", "wsgi:app"),
    "a_number_of_the_environment": ("variable-missing", "import os\nint(os.getenv('PORT'))\n", "wsgi:app"),
    "a_list_of_the_environment": ("variable-missing", "import os\nos.environ.get('HOSTS').split()\n", "wsgi:app"),
    "settings_of_pydantic": (
        "variable-missing",
        "from pydantic import BaseModel\nclass Settings(BaseModel):\n    database_url: str\nSettings()\n",
        "wsgi:app",
    ),
    "a_module_that_python_has_removed": ("removed-module", "import sys\nsys.path[:] = []\nimport telnetlib\n", "wsgi:app"),
    "a_part_of_a_package": ("relative-import", "from . import models\n", "wsgi:app"),
    "a_factory_with_arguments": ("factory-arguments", "def create_app(config): ...\n", "wsgi:create_app()"),
    "a_factory_without_any": ("factory-arguments", "def create_app(): ...\n", "wsgi:create_app('x')"),
    "a_pair": ("not-an-app", "def create_app():\n    return len, 1\n", "wsgi:create_app()"),
    "a_factory_that_returns_nothing": ("not-an-app", "def create_app(): ...\n", "wsgi:create_app()"),
    "a_question": ("question-at-import", "input('which? ')\n", "wsgi:app"),
    "a_locale": ("locale-missing", "import locale\nlocale.setlocale(locale.LC_ALL, 'xx_XX.UTF-8')\n", "wsgi:app"),
    "a_version_from_git": (
        "git-at-import",
        "import subprocess\nsubprocess.check_output(['git', 'describe'])\n",
        "wsgi:app",
    ),
    "a_configuration_file": ("file-missing", FLASK + "app.config.from_pyfile('config.py')\n", "wsgi:app"),
    "an_event_loop_in_another": ("async-gevent", ASYNC, "wsgi:app"),
    "a_template": (
        "template-missing",
        FLASK + "with app.app_context():\n    app.jinja_env.get_template('index.html')\n",
        "wsgi:app",
    ),
    "an_asynchronous_view": (
        "async-extra",
        "import sys\nsys.modules['asgiref.sync'] = None\n" + FLASK + "async def view(): ...\napp.ensure_sync(view)\n",
        "wsgi:app",
    ),
    "a_server_of_its_own": ("server-at-import", HUNG, "wsgi:app"),
    "a_loop_of_its_own": ("loop-at-import", LATE + "import asyncio\nasyncio.run(asyncio.sleep(60))\n", "wsgi:app"),
    "a_service_that_is_silent": ("service-silent", LATE + SILENT, "wsgi:app"),
    "a_password": ("question-at-import", "import getpass\ngetpass.getpass()\n", "wsgi:app"),
    "a_variable_that_it_checks": ("variable-missing", "raise ValueError('No SECRET_KEY set')\n", "wsgi:app"),
    "a_value_that_is_none": ("none-value", "import os\nhost = os.getenv('HOST')\nurl = 'a' + host\n", "wsgi:app"),
    "an_assertion": ("app-error", "assert not 1\n", "wsgi:app"),
    "a_log_file": ("log-file", LOG_FILE, "wsgi:app"),
    "a_program": ("program-missing", "import subprocess\nsubprocess.run(['pygun-no-such'])\n", "wsgi:app"),
    "a_database": ("database-dialect", DIALECT, "wsgi:app"),
    "what_flask_has_removed": ("removed-from-flask", FLASK + "app.before_first_request(print)\n", "wsgi:app"),
    "a_session_without_a_key": (
        "secret-key-missing",
        FLASK + "from flask import session\nwith app.test_request_context():\n    session['user'] = 1\n",
        "wsgi:app",
    ),
}  # fmt: skip


def imported(folder: Path, name: str) -> str:
    """What is said when gunicorn's own function imports an app."""
    _code, source, target = APPS[name]
    (folder / "wsgi.py").write_text(source)
    code = f"import sys; sys.path.insert(0, ''); from gunicorn.util import import_app; import_app({target!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr
