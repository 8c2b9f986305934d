# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of modules that find the apps of a host by themselves; `supervisor.conf.PLACES_OPTIONS` is their argument spec."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that these modules share."""

    DOCUMENTATION = r"""
options:
  base_dir:
    description: Directory that holds the apps' directories.
    type: path
    default: /srv
  conf_dir:
    description: Directory of C(supervisord.conf) and C(conf.d).
    type: path
    default: /etc/supervisor
"""
