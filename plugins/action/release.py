# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packs the source on the control node, once for all hosts, and uploads it only where the release is missing."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.release import server_packages, texts
from ..plugin_utils import app_files, needs, pack, text
from ..plugin_utils.checkout import checkout, without_password
from ..plugin_utils.source_tree import SourceTree


class ActionModule(ActionBase):
    # Otherwise the host would be asked for a directory before it is known whether there is anything to send.
    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        # One for all hosts of a run: what hangs together can then be undone together.
        result = {**super().run(tmp, task_vars), "rollout": str(self._task._uuid)}
        args = self._task.args.copy()
        on_control_node = {
            key: args.pop(key, default)
            for key, default in (
                ("src", ""),
                ("git_repo", ""),
                ("git_ref", ""),
                ("exclude", []),
                ("include", []),
                ("pygun_py", ""),
                ("pygun_py_shown", ""),
                ("runtime", ""),
                ("extra_files", []),
            )
        }
        pygun_py = on_control_node.pop("pygun_py")
        shown = texts.text_of(texts.SETTINGS, b"", on_control_node.pop("pygun_py_shown")) or ""
        on_control_node["requirements"] = args.pop("requirements", None) or []
        on_control_node["packages"] = args.get("packages") or []
        shared = pack.Shared(self._folder_of_this_run(on_control_node))
        try:
            collected = shared.collected(lambda scratch: self._collect(scratch, **on_control_node))
            self._refuse_old_gunicorn(self._files(collected), args)
            entries = [*collected.entries, pack.entry_from_bytes("pygun.py", pygun_py.encode())]
            files = pack.manifest(entries)
            args.update(content=pack.digest(files), requirements=collected.requirements, origin=collected.origin)
            args.update(app_files.for_host(on_control_node["extra_files"]))
            result["notes"] = collected.notes
            answer = self._module(args, task_vars)
            if answer.get("failed") or answer["exists"]:
                if answer.get("settled") and not self._task.check_mode:
                    bind = args.get("service", {}).get("bind")
                    host = task_vars["inventory_hostname"]
                    Display().display(text.serves(args.get("name"), host, "already", answer["release"], bind))
                return {**result, **answer}
            if shared.is_first_to("show the notes"):
                for note in collected.notes:
                    Display().display(f"{args.get('name')}: {note}")
            if self._task.check_mode:
                answer = self._module({**args, "files": files}, task_vars)
            else:
                fetch = app_files.fetcher_for(on_control_node["extra_files"]) if args.get("wheelhouse") else None
                answer = self._build(shared.archive(entries, fetch), {**args, "pygun_py_shown": shown}, task_vars)
            before = answer.pop("texts", {})
            if answer.get("diff") and self._task.diff:
                answer["diff"] = [answer["diff"], *_text_diffs(before, entries, shown)]
            return {**result, **answer}
        except pack.PackError as error:
            raise AnsibleActionFail(f"{error} Nothing was changed.") from None  # ansible-core would show it twice

    def _folder_of_this_run(self, source):
        """Where the hosts that run this task with this source meet; Ansible removes it at the end of the run."""
        identity = json.dumps([self._task._uuid, self._task.get_search_path(), source], sort_keys=True, default=str)
        key = hashlib.sha256(identity.encode()).hexdigest()[:16]
        return Path(constants.DEFAULT_LOCAL_TMP, f"pygun-release-{key}")

    def _module(self, args, task_vars):
        return self._execute_module(module_name="pygun.stack.release", module_args=args, task_vars=task_vars)

    def _collect(
        self,
        scratch,
        *,
        src,
        git_repo,
        git_ref,
        exclude,
        runtime,
        requirements,
        include=(),
        packages=(),
        extra_files=(),
    ):
        """What the source gives to the release, and how it was read."""
        entries = list(SourceTree(Path(runtime)).entries("lib/" + Path(runtime).name)) if runtime else []
        origin, notes = {}, []
        source = None
        if git_repo:
            target = scratch / "checkout"
            origin = {
                "repo": without_password(git_repo),
                "ref": git_ref,
                "commit": checkout(git_repo, git_ref, target),
            }
            source = target / (src or "")
        elif src:
            source = Path(self._find_needle("files", src))
        tree = []
        if source is None:
            if requirements and not all(os.path.isabs(path) for path in requirements):
                raise pack.PackError(
                    "flask_app_requirements names a relative path, and there is no flask_app_src that it could be relative to."
                )
        elif not source.is_dir():
            raise pack.PackError(
                f"flask_app_src is {source}, which is not a directory. Name the directory that holds the app."
            )
        else:
            found = SourceTree(source, exclude, include)
            tree = list(found.entries("src"))
            if not tree:
                raise pack.PackError(
                    f"{source} holds no file that could be deployed (flask_app_src, flask_app_exclude, .gitignore)."
                )
            notes += [str(found.left_out)] if found.left_out.count else []
        extra = app_files.entries(extra_files, self._extra, scratch, {entry.path for entry in tree})
        needed = needs.of(source, requirements, [entry.path for entry in tree], scratch, bool(packages))
        if needed.read:
            notes.insert(0, f"Packages are those of {', '.join(needed.read)}.")
        return pack.Collected(
            [*entries, *tree, *extra, *needed.entries], needed.paths, origin, notes, str(source or "")
        )

    def _extra(self, src):
        """Where a file of flask_app_files is on the control node."""
        return Path(self._find_needle("files", src))

    @staticmethod
    def _files(collected):
        """The requirement files on the control node."""
        found = {entry.path: entry.source for entry in collected.entries}
        return [found[path] for path in collected.requirements]

    @staticmethod
    def _named(files, args):
        """Where the app names packages of the server."""
        return server_packages.named(args.get("server_packages") or [], map(str, files), args.get("packages") or [])

    def _refuse_old_gunicorn(self, files, args):
        for where, why in server_packages.refused(self._named(files, args), args.get("overrides") or []):
            raise pack.PackError(f"{where}{why}")

    def _build(self, archive, args, task_vars):
        self._make_tmp_path()
        try:
            remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "release.tar.gz")
            self._transfer_file(str(archive), remote)
            self._fixup_perms2((self._connection._shell.tmpdir, remote))
            return self._module({**args, "archive": remote}, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)


def _text_diffs(before, entries, shown=""):
    """A diff for each changed file whose text may be shown, up to a limit."""
    after = {entry.path: entry for entry in entries}
    total = 0
    for path, old in before.items():
        new = _text(after[path], shown) if path in after else ""
        total += len(old or "") + len(new or "")
        if total <= texts.TOTAL_LIMIT and None not in (old, new) and old != new:
            yield {"before_header": path, "after_header": path, "before": old, "after": new}


def _text(entry, shown):
    if entry.link is not None or entry.is_fetched:
        return None
    content = entry.data
    if content is None:
        with entry.source.open("rb") as stream:
            content = stream.read(texts.FILE_LIMIT + 1)
    return texts.text_of(entry.path, content, shown)
