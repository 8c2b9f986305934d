# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Collects wheels on the control node, once for all hosts that are alike."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display

from ..module_utils.release import server_packages
from ..module_utils.release.requirement_lines import FOLDERS, notes
from ..plugin_utils import needs, pack, wheels
from .release import ActionModule as ReleaseAction


class ActionModule(ReleaseAction):
    def run(self, tmp=None, task_vars=None):
        result = super(ReleaseAction, self).run(tmp, task_vars)
        args = self._task.args.copy()
        dest = Path(args.get("dest") or "")
        if not dest.is_absolute():
            raise AnsibleActionFail(
                "python_wheelhouse does not say where the wheels go. Set it to a directory on the control node, such as"
                ' "{{ inventory_dir }}/wheelhouse". Nothing was changed.'
            )
        target, python = args.get("target"), args.get("app_python") or ""
        if not target:
            answer = self._execute_module(
                module_name="pygun.stack.collect_wheels",
                module_args={"dest": str(dest), "python": args.get("python"), "app_python": python},
                task_vars=task_vars,
            )
            if answer.get("failed"):
                return {**result, **answer}
            target = answer["target"]
        try:
            asked = wheels.Target.parse(target)
            with pack.in_words("The wheels cannot be collected"):
                added = self._once(args, dest, asked.of_app(python) if args.get("target") else asked)
        except (pack.PackError, wheels.WheelsError) as error:
            raise AnsibleActionFail(f"{error} Nothing was changed.") from None  # ansible-core would show it twice
        diff = {"before_header": str(dest), "after_header": str(dest), "before": ""}
        diff["after"] = "".join(f"{name}\n" for name in added)
        return {**result, "changed": bool(added), "target": asked.text, "added": added, "diff": diff}

    def _once(self, args, dest, target):
        """The wheels that the first of the hosts that are alike adds; none for the others."""
        identity = json.dumps([self._task._uuid, target.text, args], sort_keys=True, default=str)
        folder = Path(constants.DEFAULT_LOCAL_TMP, f"pygun-wheels-{hashlib.sha256(identity.encode()).hexdigest()[:16]}")
        shared = pack.Shared(folder)
        done = folder / "done"
        with shared.alone():
            if done.exists():
                return []
            added = self._collect_wheels(args, dest, target, folder)
            done.touch()
            return added

    def _collect_wheels(self, args, dest, target, scratch):
        source = {key: args.get(key) or "" for key in ("src", "git_repo", "git_ref")}
        source["git_ref"] = source["git_ref"] or "HEAD"
        asked = args.get("requirements") or []
        packages = args.get("packages") or []
        patterns = {key: args.get(key) or [] for key in ("exclude", "include", "extras", "shared_paths")}
        collected = self._collect(scratch, runtime="", requirements=asked, packages=packages, **patterns, **source)
        files = self._files(collected)
        for file in files:
            if file.name == FOLDERS:
                packages = [*packages, *needs.to_build(file, Path(collected.source))]
        self._refuse_versions(files, args)
        server = args.get("server_packages") or []
        given = [*(args.get("overrides") or []), *(text for file in files for _where, text in notes(file, "override"))]
        return wheels.collect(
            dest,
            target,
            files=files,
            packages=packages,
            source=collected.source,
            server=server,
            named=self._named(files, args),
            warn=Display().warning,
            overrides=server_packages.with_extras(given, server),
            index_url=args.get("index_url") or "",
            extra_args=args.get("extra_args") or [],
            scratch=scratch,
            check=self._task.check_mode,
        )
