#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: wheelhouse
short_description: Bring wheels to a host that has no package index
version_added: 1.0.0
author: the pygun.stack authors (@pygun)
description:
  - Makes a directory on the host hold the wheels of a directory on the control node. Only what the host lacks is sent.
  - M(pygun.stack.collect_wheels) fills the directory on the control node.
options:
  src:
    description: Directory on the control node.
    type: str
    required: true
  path:
    description: Directory on the host. Wheels that have left O(src) are removed from it.
    type: path
    required: true
  files:
    description: Digests of the wheels by their names. Set by the action plugin.
    type: dict
    default: {}
  archive:
    description: Path on the host of what was sent. Set by the action plugin.
    type: path
attributes:
  check_mode:
    support: full
    description: Says which wheels would be sent and removed.
  diff_mode:
    support: full
    description: Lists the wheels that differ.
seealso:
  - module: pygun.stack.collect_wheels
"""

EXAMPLES = r"""
- name: Copy the wheels to the host
  pygun.stack.wheelhouse:
    src: /home/me/wheelhouse
    path: /opt/pygun/wheelhouse
"""

RETURN = r"""
missing:
  description: Wheels that the host lacked.
  returned: success
  type: list
  elements: str
removed:
  description: Wheels that have left O(src).
  returned: success
  type: list
  elements: str
"""

import hashlib
import json
import os
import re
import tarfile

from ..module_utils.host.atomic import remove_file, write_atomically
from ..module_utils.release.archive import opened
from ..module_utils.stack_module import StackModule

#: What the wheels of the directory are known to be.
RECORD = "wheels.json"
_BLOCK = 1 << 20


def recorded(path):
    """Return the digests of the wheels in a directory, by name."""
    try:
        with open(os.path.join(path, RECORD), encoding="utf-8") as stream:
            known = json.load(stream)
    except (OSError, ValueError):
        return {}
    return {name: digest for name, digest in known.items() if os.path.isfile(os.path.join(path, name))}


def standing(path):
    """The wheels in a directory, and what a run that was killed has left of one."""
    found = []
    for name in os.listdir(path) if os.path.isdir(path) else ():
        part = re.fullmatch(r".+\.whl\.(\d+)\.tmp", name)
        if name.endswith(".whl") or (part and not os.path.exists(f"/proc/{part[1]}")):
            found.append(name)
    return found


def bring(archive, path, before, wanted):
    """Put those wheels of an archive into a directory that the record lacks. At any moment the record says of no wheel what it is not."""
    kept = {name: digest for name, digest in before.items() if wanted.get(name) == digest}
    if kept != before:
        record(path, kept)
    unpack(archive, path, {name: digest for name, digest in wanted.items() if name not in kept})


def record(path, wheels):
    """Write down what the wheels of a directory are."""
    write_atomically(os.path.join(path, RECORD), (json.dumps(wheels, indent=0, sort_keys=True) + "\n").encode(), 0o644)


def unpack(archive, path, wanted):
    """Put the wheels of an archive into a directory, each whole or not at all."""
    with opened(archive) as packed:
        for member in packed:
            if member.name not in wanted or not member.isfile() or "/" in member.name:
                continue
            blocks = _checked(packed.extractfile(member), member.name, wanted[member.name])
            write_atomically(os.path.join(path, member.name), blocks, 0o644)


def _checked(stream, name, signature):
    """The content in blocks, since a wheel may be larger than the memory of the host; at its end an error if it is not as it was sent."""
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK):
        digest.update(block)
        yield block
    if f"file:{digest.hexdigest()}" != signature:
        raise tarfile.TarError(f"{name} did not arrive as it was sent")


def main():
    """Run the module."""
    module = StackModule(
        argument_spec={
            "src": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "files": {"type": "dict", "default": {}},
            "archive": {"type": "path"},
        },
        supports_check_mode=True,
    )
    path, wanted = module.params["path"], module.params["files"]
    before = recorded(path)
    missing = sorted(name for name, digest in wanted.items() if before.get(name) != digest)
    removed = sorted(set(standing(path)) - set(wanted))
    result = {"changed": bool(missing or removed), "missing": missing, "removed": removed}
    result["diff"] = {
        "before_header": path,
        "after_header": path,
        "before": "".join(f"{name}\n" for name in sorted({*before, *removed}) if name not in wanted or name in missing),
        "after": "".join(f"{name}\n" for name in missing),
    }
    if module.check_mode or not result["changed"] or (missing and not module.params["archive"]):
        module.exit_json(**result)
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
        if missing:
            bring(module.params["archive"], path, before, wanted)
        record(path, wanted)
        for name in removed:
            remove_file(os.path.join(path, name))
    except (OSError, tarfile.TarError) as error:
        module.fail_json(msg=f"The wheels cannot be put into {path}: {error}. Nothing was installed.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
