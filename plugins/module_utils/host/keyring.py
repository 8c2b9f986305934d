# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keys that the kernel keeps. A session has a keyring, and whoever is in the session may read what that leads to, whatever its user."""

from __future__ import annotations

import ctypes
import os

_JOIN_SESSION_KEYRING = 1  # of keyctl(2)
#: The number of keyctl(2), for which the C library has no function.
_KEYCTL = {
    "x86_64": 250,
    "aarch64": 219,
    "riscv64": 219,
    "loongarch64": 219,
    "ppc64le": 271,
    "s390x": 280,
    "i686": 288,
    "armv7l": 311,
}


def leave_keyring() -> None:
    """Give this process an empty session keyring. Where containers may not use keyrings, it does nothing, and there are no keys either."""
    number = _KEYCTL.get(os.uname().machine)
    if number:
        ctypes.CDLL(None).syscall(number, _JOIN_SESSION_KEYRING, None)
