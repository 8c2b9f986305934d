# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ..plugin_utils import rollout


class FilterModule:
    """Filters of this collection for what several hosts run."""

    def filters(self):
        return {"hosts_to_roll_back": rollout.to_roll_back, "who_runs_what": rollout.describe}
