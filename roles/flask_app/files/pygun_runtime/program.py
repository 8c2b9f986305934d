# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Start a Python program of the release with the app's log: `program.py FILE|-m MODULE [ARGUMENT]...`, see program_log."""

import sys

_lib, _name, _file = __file__.rpartition("/pygun_runtime/")
if sys.path[:1] == [f"{_lib}/pygun_runtime"]:
    del sys.path[0]  # the program's own folder takes its place
sys.path.append(_lib)
from pygun_runtime import program_log

sys.path.remove(_lib)
program_log.start(sys.argv[1:])
