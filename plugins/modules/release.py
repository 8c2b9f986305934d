#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Build a release of an app, once for each content
version_added: 0.1.0
author: the pygun.stack authors (@pygun)
description:
  - A release is everything that runs, namely the source, a virtual environment, the runtime and the rendered C(pygun.py).
  - Its id is a hash of that content and of the Python version, so the same content gives the same id on every host, and building it
    a second time changes nothing.
  - The source is packed on the control node and sent only to a host that lacks the release.
  - Nothing that runs is touched; M(pygun.stack.activate) puts a release into service.
  - A build that fails, or is killed, leaves nothing behind that counts as a release.
  - An account of its own for each app, C(pygun-build-NAME), installs, builds and compiles, so that no package's code runs as root. It is made
    with the first build, reads nothing of any app, and has its own cache in O(cache_dir). Root then takes over the files.
extends_documentation_fragment: pygun.stack.installer
options:
  name:
    description: Name of the app.
    type: str
    required: true
  root:
    description: Directory of the app on the host; the release is built in its C(releases).
    type: path
    required: true
  group:
    description: Group that may read the release. Owner is root, so that the app cannot change its own code.
    type: str
    required: true
  src:
    description:
      - Directory of the source on the control node. Relative paths are looked up as C(copy) does.
      - With O(git_repo), a directory inside the repository.
      - Left out are what C(.gitignore) files name, C(.git), caches and virtual environments.
    type: str
    default: ""
  git_repo:
    description: Repository to take the source from. It is checked out on the control node; hosts need no git and no credentials.
    type: str
    default: ""
  git_ref:
    description: Branch, tag or commit of O(git_repo).
    type: str
    default: HEAD
  exclude:
    description: Patterns of names or paths in the source to leave out.
    type: list
    elements: str
    default: []
  requirements:
    description:
      - Requirement files, relative to the source, or absolute paths on the control node.
      - Hashes in them are checked.
      - When empty, C(requirements.txt) of the source is taken, if there is one.
    type: list
    elements: str
    default: []
  packages:
    description: Packages to install besides, such as C(httpbin==0.10.4).
    type: list
    elements: str
    default: []
  server_packages:
    description:
      - The server's packages, such as C(gunicorn[gevent]==27.0.1).
      - Where O(requirements) or O(packages), or what they bring, ask for another version, that one is taken; the extras named here
        hold all the same.
    type: list
    elements: str
    default: []
  overrides:
    description: Requirements that win over what any package asks for, such as C(greenlet>=3.2.2) (uv's C(--overrides)). Needs O(uv).
    type: list
    elements: str
    default: []
  pygun_py:
    description: Content of C(pygun.py).
    type: str
    default: ""
  runtime:
    description: Directory of the runtime package on the control node.
    type: str
    default: ""
  by:
    description: Who does this, shown to somebody who deploys at the same time.
    type: str
    default: ""
  activation:
    description:
      - Parameters of M(pygun.stack.activate), but C(release) and C(rollout). If the release stands, the same round trip tells whether it is
        in service and answers, so that nothing has to be activated. Not asked in check mode.
    type: dict
  content:
    description: Digest of the packed content. Set by the action plugin.
    type: str
    default: ""
  files:
    description: Manifest of the packed content, for a diff. Set by the action plugin.
    type: dict
    default: {}
  archive:
    description: Path of the packed content on the host. Set by the action plugin.
    type: path
  origin:
    description: Where the source comes from. Set by the action plugin.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Says which release would be built; the id is the same as in the real run.
    support: full
  diff_mode:
    description:
      - Lists the files that differ from the current release, and shows the text of what changes in them, up to a limit.
      - Not shown is what may be secret, such as V(.env), a private key, and what O(pygun_py) got from a user's own settings.
    support: full
"""

EXAMPLES = r"""
- name: Build a release of the scoring service
  pygun.stack.release:
    name: scoring
    root: /srv/scoring
    group: scoring
    src: ../app
    server_packages:
      - gunicorn==27.0.1
      - gevent==26.9.0
    pygun_py: "{{ lookup('ansible.builtin.template', 'pygun.py.j2') }}"
    runtime: "{{ role_path }}/files/pygun_runtime"
    uv: /opt/pygun/uv/bin/uv
  register: built
"""

RETURN = r"""
rollout:
  description: Names the run that built or found the release. The same on all hosts of the run; M(pygun.stack.activate) keeps it in the app's history.
  returned: success
  type: str
release:
  description: Id of the release.
  returned: success
  type: str
  sample: 3f0c9e1b5a7d2846
exists:
  description: Whether the release stood on the host before.
  returned: success
  type: bool
settled:
  description: Whether M(pygun.stack.activate) with O(activation) would find nothing to do.
  returned: success
  type: bool
path:
  description: Directory of the release.
  returned: success
  type: str
  sample: /srv/scoring/releases/3f0c9e1b5a7d2846
cause:
  description: Why it cannot be built, if the cause is a known one, or null.
  returned: failure
  type: str
remedy:
  description: What to do about it, or null.
  returned: failure
  type: str
"""

import contextlib
import grp
import hashlib
import json
import os
import stat
import subprocess
import tarfile
import time

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..module_utils import (
    build_account,
    python_env,
    release_texts,
    server_packages,
)
from ..module_utils.activation import ARGUMENT_SPEC, Activation, options_from
from ..module_utils.diagnosis import advice
from ..module_utils.lock import Held, locked
from ..module_utils.release_store import (
    ReleaseStore,
    kept_aside,
    now,
    write_atomically,
)
from ..module_utils.stack_module import StackModule


def release_id(params, python):
    """Sixteen hexadecimal digits that change when, and only when, something that runs changes."""
    identity = {
        "content": params["content"],
        "requirements": params["requirements"],
        "packages": params["packages"],
        "server_packages": params["server_packages"],
        "overrides": params["overrides"],
        "installer": "uv" if params["uv"] else "pip",
        "python": python,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def build(params, release, python, store, account=None):
    """Build the release in its place; ``release.json`` comes last and makes it count.

    :param account: who runs what the packages bring. Until all is root's again, nobody else can enter the release
    """
    path = store.path(release)
    src, lib = os.path.join(path, "src"), os.path.join(path, "lib")
    os.umask(0o022)  # root's may keep everybody else from what it makes
    with kept_aside(path):
        os.makedirs(path, mode=0o700)
        _unpack(params["archive"], path)
        if account:
            os.chown(path, 0, account.gid)
            os.chmod(path, 0o710)
        build_account.hand_over(lib, account)
        _compile(params, lib, account)
        build_account.take_over(lib, account)
        build_account.hand_over(src, account)  # a build of the app's own package writes there
        _install(params, path, account)
        _compile(params, src, account)
        build_account.take_over(src, account)
        _have_runtime_found(path)
        os.chown(path, 0, grp.getgrnam(params["group"]).gr_gid)
        os.chmod(path, 0o750)
        subprocess.run(  # pylint: disable=ansible-bad-function
            ["sync", "--file-system", path], check=False
        )  # a power cut must not leave a release that only looks complete
        write_atomically(os.path.join(path, "release.json"), _metadata(params, release, python), 0o644)


def _unpack(archive, path):
    built = time.time()
    with tarfile.open(archive) as packed:
        for member in packed:
            if os.path.isabs(member.name) or ".." in member.name.split("/"):
                raise tarfile.TarError(f"{member.name} leads out of the release")
            member.mtime = built  # an archive has no times, and browsers are told those of static files
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            packed.extract(member, path)


def _install(params, path, account):
    venv = os.path.join(path, "venv")
    files = [os.path.join(path, name) for name in params["requirements"]]
    found = server_packages.named(params["server_packages"], files, params["packages"], path)
    installer = python_env.Installer.from_options(params, account)
    installer.create(venv, params["python"])
    _install_best(params, path, installer, files, found)
    if python_env.installed(venv).get("gunicorn", "").startswith("20."):
        _add_pkg_resources(params, path, installer, files)
    installer.take_over(venv)


def _have_runtime_found(path):
    """Tell the environment where the runtime is, in a file that is not one which a package has put there."""
    for packages in python_env.site_packages(os.path.join(path, "venv")):
        text = f"{os.path.join(path, 'lib')}\n"
        write_atomically(os.path.join(packages, "pygun_runtime.pth"), text.encode(), 0o644)


def _install_best(params, path, installer, files, found):
    """Install the app's packages and the server's, with the server's versions where the app leaves the choice."""
    venv, server, first = os.path.join(path, "venv"), params["server_packages"], None
    for way in server_packages.ways(server, found):
        try:
            _install_together(params, path, installer, files, found, way)
        except python_env.InstallError as error:
            first = first or error
            if not server_packages.leaves_another_way(str(error)):
                break
        else:
            if first is None or _app_decided(venv, server, found):
                return
            break
    if found and not isinstance(first, python_env.MissingWheel):
        named = ", ".join(str(place) for places in found.values() for place in places)
        cause = f"The app names {named}; the server needs {', '.join(server)}. The two do not fit each other."
        if any(name in str(first) for name in found):
            raise python_env.InstallError(str(first), cause, server_packages.remedy(found)) from first
    raise first


def _app_decided(venv, server, found):
    """Whether it was the app that had the server's packages have other versions, and not an index that lacks ours."""
    names = [python_env.requirement_name(text) for text in server]
    others = python_env.lacking(venv, [text for text in server if python_env.pinned_version(text)])
    differ = {python_env.requirement_name(text) for text in others} - set(found)
    return all(python_env.chosen_elsewhere(venv, name, besides=names) for name in differ)


def _install_together(params, path, installer, files, found, server):
    venv = os.path.join(path, "venv")
    own = [argument for name in files for argument in ("-r", name)] + params["packages"]
    if params["overrides"]:
        overrides = server_packages.with_extras(params["overrides"], params["server_packages"])
        own += ["--overrides", _write_lines(os.path.join(path, "overrides.txt"), overrides)]
    if not server_packages.wants_hashes(files, params["uv"]):
        if own + server:
            installer.install(venv, own + server)
        return
    installer.install(venv, own)  # the server's packages have no hashes: they come second
    present = python_env.installed(venv)
    fixed = [f"{name}=={version}" for name, version in sorted(present.items())]
    fixed += server_packages.constraints({name: found[name] for name in found if name not in present})
    if server:
        installer.install(venv, ["-c", _write_lines(os.path.join(path, "constraints.txt"), fixed), *server])


def _add_pkg_resources(params, path, installer, files):
    """What gunicorn 20 imports and does not ask for."""
    venv, needed = os.path.join(path, "venv"), server_packages.FOR_GUNICORN_20
    if any(os.path.isdir(os.path.join(packages, "pkg_resources")) for packages in python_env.site_packages(venv)):
        return
    named = server_packages.named(["setuptools"], files, params["packages"], path).get("setuptools", ())
    for place in named:
        if place.decides:
            cause = f"gunicorn 20 imports pkg_resources of {needed}, and the app names {place}."
            raise python_env.InstallError(cause, cause, "Take the version out, or name gunicorn==21.2.0 or later.")
    installer.install(venv, [needed])


def _write_lines(path, lines):
    with open(path, "w", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines)
    return path


def _compile(params, folder, account):
    """Byte-compile source: the app may not write next to it. A file that does not compile is the gate's to judge.

    The host's interpreter does it, and not the one of the environment, which runs the packages' code.
    """
    command = [params["python"], "-IS", "-m", "compileall", "-q", "-j", "0", folder]
    with contextlib.suppress(subprocess.TimeoutExpired):
        if os.path.isdir(folder):
            build_account.run(command, account, {"LC_ALL": "C.UTF-8"}, timeout=1800, network=False)


def _metadata(params, release, python):
    found = {
        "id": release,
        "app": params["name"],
        "built_at": now(),
        "python": python,
        "content": params["content"],
        "origin": params["origin"],
        "requirements": params["requirements"],
        "packages": params["packages"],
        "server_packages": params["server_packages"],
        "overrides": params["overrides"],
    }
    return (json.dumps(found, indent=2, sort_keys=True) + "\n").encode()


def manifest_of(store, release):
    """Kind and digest of each file of a release; empty when there is none."""
    if release is None:
        return {}
    try:
        with open(os.path.join(store.path(release), "manifest.json"), encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return {}


def shown(store, before, after, current, release):
    """The files that differ, as a diff of two lists, and what the action plugin needs to show what changes in them."""
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    listing = {
        "before_header": f"files of release {current}" if current else "no release",
        "after_header": f"files of release {release}",
        "before": "".join(f"{path} {before[path][:17]}\n" for path in changed if path in before),
        "after": "".join(f"{path} {after[path][:17]}\n" for path in changed if path in after),
    }
    return {"diff": listing, "texts": texts(store.path(current), changed, before) if current else {}}


def texts(folder, changed, known):
    """What may be shown of each changed file as it is in the current release; None where nothing may, or too much."""
    found, total = {}, 0
    for path in filter(release_texts.readable, changed):
        found[path] = ""
        if path in known:
            found[path] = _read(folder, path) if total < release_texts.TOTAL_LIMIT else None
            total += len(found[path] or "")
    return found


def _read(folder, path):
    name = os.path.join(folder, path)
    if os.path.realpath(name) != os.path.join(os.path.realpath(folder), path):
        return None  # a link leads elsewhere
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return None
            return release_texts.text_of(path, stream.read(release_texts.FILE_LIMIT + 1))
    except OSError:
        return None


def settled(module, release):
    """Whether the release is in service as is asked for."""
    given = module.params["activation"]
    if given is None or module.check_mode:
        return False
    checked = ArgumentSpecValidator(ARGUMENT_SPEC).validate({**given, "release": release})
    if checked.error_messages:
        module.fail_json(msg=f"activation: {'; '.join(checked.error_messages)}. Nothing was changed.")
    warnings = []
    found = Activation(options_from(checked.validated_parameters), warnings.append).settled()
    for text in warnings if found else ():  # or else the activation warns
        module.warn(text)
    return found


def main():
    text = {"type": "str", "default": ""}
    listing = {"type": "list", "elements": "str", "default": []}
    module = StackModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "group": {"type": "str", "required": True},
            "src": text,
            "git_repo": text,
            "git_ref": {"type": "str", "default": "HEAD"},
            "exclude": listing,
            "requirements": listing,
            "packages": listing,
            "server_packages": listing,
            "overrides": listing,
            "pygun_py": text,
            "runtime": text,
            **python_env.INSTALLER_OPTIONS,
            "activation": {"type": "dict"},
            "content": text,
            "files": {"type": "dict", "default": {}},
            "archive": {"type": "path"},
            "origin": {"type": "dict", "default": {}},
            "by": text,
        },
        supports_check_mode=True,
    )
    params = module.params
    secret = ((params["activation"] or {}).get("env_file") or {}).get("content")
    if secret:
        module.no_log_values.add(secret)
    if params["overrides"] and not params["uv"]:
        module.fail_json(
            msg="flask_app_overrides needs flask_app_installer to be uv: pip has no such thing. Nothing was changed."
        )
    store = ReleaseStore(params["root"])
    python = python_env.python_version(params["python"])
    if python is None:
        module.fail_json(msg=f"{params['python']} cannot be run (python_interpreter). Nothing was changed.")
    release = release_id(params, python)
    # A release whose interpreter is gone (or has become another) is built anew in its place: nothing could start from it.
    standing = store.is_complete(release) and python_env.usable(os.path.join(store.path(release), "venv"))
    result = {"release": release, "path": store.path(release), "exists": standing}
    if result["exists"] or not (params["archive"] or params["files"]):
        module.exit_json(changed=False, settled=standing and settled(module, release), **result)
    result["settled"] = False

    current = store.current()
    before = manifest_of(store, current)
    if module.check_mode:
        module.exit_json(changed=True, **shown(store, before, params["files"], current, release), **result)
    try:
        grp.getgrnam(params["group"])
    except KeyError:
        module.fail_json(msg=f"There is no group {params['group']} on this host. Nothing was changed.", **result)
    try:
        with locked(params["root"], params["by"], patience=0):
            account = build_account.have(params["name"])
            build_account.end_processes(account)  # of a run that was killed: they would go on with what is removed now
            store.recover()
            build(params, release, python, store, account)
    except Held as error:
        module.fail_json(msg=str(error), **result)
    except (OSError, build_account.InstallError, tarfile.TarError) as error:
        running = f"Release {current} is current and was not touched." if current else "Nothing was installed."
        known = python_env.explained(error)
        cause = f"\n{advice(known)}" if known else ""
        module.fail_json(
            msg=f"Release {release} of {params['name']} cannot be built: {error}{cause}\n{running}",
            cause=known.cause if known else None,
            remedy=known.remedy if known else None,
            **result,
        )
    module.exit_json(changed=True, **shown(store, before, manifest_of(store, release), current, release), **result)


if __name__ == "__main__":
    main()
