# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packs the source on the control node, once for all hosts, and uploads it only where the release is missing."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.host.logins import masked
from ..module_utils.release import server_packages, texts
from ..module_utils.release.requirement_lines import FOLDERS, lines
from ..plugin_utils import app_files, hashes, needs, pack, procfile, progress, requirement_mistakes, text, transfer
from ..plugin_utils.checkout import checkout
from ..plugin_utils.digests import Digests
from ..plugin_utils.once import Once
from ..plugin_utils.run_locks import RunLocks, needs_digest
from ..plugin_utils.shared_paths import Taken, take_out
from ..plugin_utils.source_tree import SourceTree


class ActionModule(ActionBase):
    # Otherwise Ansible would make a temporary directory on the host before we know whether there is anything to send.
    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        # The same on all hosts of a run, so that a rollback finds every host of a rollout.
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
                ("extras", []),
                ("require_hashes", False),
                ("shared_paths", []),
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
        locks = RunLocks(shared.folder)
        try:
            host = task_vars["inventory_hostname"]
            self._who = f"{args.get('name')}, {host}"
            with progress.shown(f"{self._who}: reading the source"), pack.in_words("The source cannot be read"):
                collected = shared.collected(lambda scratch: self._collect(scratch, **on_control_node))
            requirement_files = self._files(collected)
            self._refuse_versions(requirement_files, args)
            if on_control_node["require_hashes"]:
                args["require_hashes"] = True
                hashes.refuse_without(requirement_files, on_control_node["packages"], args.get("server_packages") or [])
            places = args.get("index_url") or "", args.get("wheelhouse") or ""
            trusted = hashes.trusted(requirement_files, on_control_node["packages"], *places)
            notes = [*collected.notes, *procfile.notes_of_deploy(collected, args, pygun_py), *filter(None, [trusted])]
            entries = [*collected.entries, pack.entry_from_bytes("pygun.py", pygun_py.encode())]
            files = pack.manifest(entries)
            args.update(content=pack.digest(files), requirements=collected.requirements, origin=collected.origin)
            args.update(shared_paths=collected.shared_paths, pythons=collected.pythons)
            args.update(needs=needs_digest(collected.entries, collected.requirements), locks=locks.digests())
            args.update(lock_wanted=len(task_vars.get("ansible_play_hosts_all", ())) > 1)
            args.update(app_files.for_host(on_control_node["extra_files"]))
            result["notes"] = notes
            answer = self._module(args, task_vars)
            locks.keep(answer)
            if answer.get("failed") or answer["exists"]:
                if answer.get("settled") and not self._task.check_mode:
                    bind = args.get("service", {}).get("bind")
                    if (args.get("activation") or {}).get("release_command"):
                        Once(str(args.get("name")), result["rollout"]).note(host, failed=False)
                    Display().display(text.serves(args.get("name"), host, "already", answer["release"], bind))
                return {**result, **answer}
            known, free = answer.pop("known"), answer.pop("free")
            self._refuse_full_disk(entries, known, free, args)
            if shared.is_first_to("show the notes"):
                for note in notes:
                    Display().display(f"{args.get('name')}: {note}")
            if self._task.check_mode:
                answer = self._module({**args, "files": files}, task_vars)
            else:
                self._say_who_resolves(locks, answer, args.get("name"), task_vars)
                args.update(pygun_py_shown=shown)
                files = on_control_node["extra_files"] if args.get("wheelhouse") else []
                build = functools.partial(self._build, locks, answer["inputs"], task_vars=task_vars)
                answer = self._send_and_build(shared, entries, known, free, files, args, build)
                result["notes"] = notes + self._show_builds(answer, host, args)
            before, packages = answer.pop("texts", {}), answer.pop("packages_diff", None)
            if self._task.check_mode and answer.get("packages") == "resolved":
                packages = needs.asked_for(
                    requirement_files, [*on_control_node["packages"], *(args.get("server_packages") or [])]
                )
            if answer.get("diff") and self._task.diff:
                packages = [packages] if packages else []
                answer["diff"] = [answer["diff"], *packages, *_text_diffs(before, entries, shown)]
            return {**result, **answer}
        except pack.PackError as error:
            raise AnsibleActionFail(f"{error} Nothing was changed.") from None  # ansible-core would show it twice

    @staticmethod
    def _say_who_resolves(locks, answer, name, task_vars):
        """Say so if a host cannot have the packages that another host of the run has resolved."""
        known = locks.digests()
        if known and answer["inputs"] not in known:
            host = task_vars["inventory_hostname"]
            Display().display(
                f"{name}: {host} has another Python or platform than the hosts before it. Its packages are resolved separately."
            )

    def _folder_of_this_run(self, source):
        """The folder that all hosts with this task and this source share; Ansible removes it at the end of the run."""
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
        require_hashes=False,
        include=(),
        packages=(),
        extras=(),
        shared_paths=(),
        extra_files=(),
    ):
        """Read the source; return the entries of the release, and notes on how it was read."""
        entries = list(SourceTree(Path(runtime)).entries("lib/" + Path(runtime).name)) if runtime else []
        origin, notes = {}, []
        source = None
        if git_repo:
            target = scratch / "checkout"
            origin = {
                "repo": masked(git_repo),
                "ref": git_ref,
                "commit": checkout(git_repo, git_ref, target),
            }
            source = target / (src or "")
        elif src:
            source = Path(self._find_needle("files", src))
        tree, taken = [], Taken([], [], [])
        remembered = Path(constants.ANSIBLE_HOME, "pygun")
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
            # Each run makes a new checkout, so that remembered digests would not help.
            digests = Digests(None if git_repo else remembered, source)
            found = SourceTree(source, exclude, include, shared_paths, digests.of)
            tree = list(found.entries("src"))
            digests.save()
            if not tree:
                raise pack.PackError(
                    f"{source} holds no file that could be deployed (flask_app_src, flask_app_exclude, .gitignore)."
                )
            notes += filter(None, [str(found.left_out)])
            taken = take_out(tree, shared_paths)
            tree = taken.entries
            notes += taken.notes
        packed = [entry.path for entry in tree]
        digests = Digests(
            remembered, Path(self._loader.get_basedir(), f"flask_app_files of {self._task.args.get('name')}")
        )
        extra = app_files.entries(extra_files, self._extra, scratch, set(packed), digests.of)
        digests.save()
        needed = needs.of(source, requirements, packed, scratch, bool(packages), extras or (), require_hashes)
        notes[:0] = needed.notes()
        everything = [*entries, *tree, *extra, *needed.entries]
        return pack.Collected(everything, needed.paths, origin, notes, taken.paths, needed.pythons, str(source or ""))

    def _extra(self, src):
        """The path of a file of flask_app_files on the control node."""
        return Path(self._find_needle("files", src))

    @staticmethod
    def _files(collected):
        """The requirement files on the control node."""
        found = {entry.path: entry.source for entry in collected.entries}
        return [found[path] for path in collected.requirements]

    @staticmethod
    def _named(files, args):
        """The places in which the app names packages of the server."""
        return server_packages.named(args.get("server_packages") or [], map(str, files), args.get("packages") or [])

    def _refuse_versions(self, files, args):
        for where, why in server_packages.refused(self._named(files, args), args.get("overrides") or []):
            raise pack.PackError(f"{where}{why}")
        if not args.get("overrides"):  # which may decide
            contradiction = requirement_mistakes.of_all(place for file in files for place in lines(str(file)))
            if contradiction:
                raise pack.PackError(contradiction)

    def _refuse_full_disk(self, entries, known, free, args, extra=()):
        """Refuse a host that has no room for what is new. A build of a project in the source works on copies."""
        is_built = any(os.path.basename(name) == FOLDERS for name in args["requirements"])
        needed = sum(entry.size for entry in (entries if is_built else pack.lacking(entries, known)))
        self._refuse_less_than(needed + sum(entry.size for entry in extra), free, args["root"])

    def _refuse_less_than(self, needed, free, place):
        if needed > free:
            raise pack.PackError(
                f"{place} on {self._who.partition(', ')[2]} has {text.size(free)} free, and the files of the new release need"
                f" {text.size(needed)}. Make room there: `df -h {place}` says how much."
            )

    def _send_and_build(self, shared, entries, known, free, files, args, build):
        """Send what the host does not know, and have the release built.

        :param files: those of flask_app_files that the host may not fetch
        """
        answer = {}
        for has in (known, ()):
            extra = app_files.fetched(files, has, shared)
            self._refuse_full_disk(entries, has, free, args, extra)
            with self._sent(shared, entries, has, extra) as archive:
                answer = build({**args, "archive": archive})
            if not answer.get("lacking"):  # or an older release has gone meanwhile
                break
        return answer

    def _build(self, locks, inputs, args, task_vars):
        """Have the release built. The first host of its kind resolves the packages; then all hosts install side by side."""
        built, resolution = [], ""
        with locks.one_resolves(inputs) as is_first:
            if is_first and len(task_vars.get("ansible_play_batch", ())) > 1:
                answer = self._build_with(locks, inputs, {**args, "resolution": "only"}, task_vars)
                # It failed, or an older release has gone, or another run has built this one.
                if "built_from_source" not in answer:
                    return answer
                built, resolution = answer["built_from_source"], "done"
            elif is_first:
                return self._build_with(locks, inputs, args, task_vars)
        answer = self._build_with(locks, inputs, {**args, "resolution": resolution}, task_vars)
        if "built_from_source" in answer:
            answer["built_from_source"] = sorted({*built, *answer["built_from_source"]})
        return answer

    def _build_with(self, locks, inputs, args, task_vars):
        args.update(locks=locks.digests(), lock=locks.text(inputs))
        with progress.shown(f"{self._who}: building the release"):
            answer = self._module(args, task_vars)
        locks.keep(answer)
        return answer

    @staticmethod
    def _show_builds(answer, host, args):
        """Say which packages came as source: their builds run code, before anything of the app does."""
        names = ", ".join(answer.get("built_from_source", ()))
        if not names:
            return []
        note = f"Built from source on {host}, which runs code of the packages as the app's build account: {names}."
        Display().display(f"{args.get('name')}: {note}")
        return [note]

    @contextlib.contextmanager
    def _sent(self, shared, entries, known, extra):
        """Send the files that the host does not know. Their archive is there meanwhile."""
        new = sum(entry.size for entry in [*pack.lacking(entries, known), *extra])
        with (
            pack.in_words("The source cannot be packed"),
            progress.shown(f"{self._who}: packing", progress.Amount(new)) as amount,
        ):
            archive = shared.archive(entries, known, amount.set, extra)
        self._make_tmp_path()
        folder = self._connection._shell.tmpdir
        try:
            yield self._send(archive)
        finally:
            self._remove_tmp_path(folder)

    def _send(self, archive):
        parts = pack.parts(archive)
        if len(parts) > 1:
            size = sum(part.stat().st_size for part in parts)
            self._refuse_less_than(size, self._free_in_tmp(), self._connection._shell.tmpdir)
        return transfer.send(self, archive, "release.tar.gz", f"{self._who}: sending")

    def _free_in_tmp(self):
        """The bytes that are free where the archive goes; without an answer, no limit."""
        command = f"df -Pk {self._connection._shell.quote(self._connection._shell.tmpdir)}"
        words = self._low_level_execute_command(command)["stdout"].split("\n")[1:2]
        try:
            return int(words[0].split()[3]) * 1024
        except (IndexError, ValueError):
            return float("inf")


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
