#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Build a release of an app, once for each content
version_added: 1.0.0
author: the pygun.stack authors (@pygun)
description:
  - A release is everything that runs, namely the source, a virtual environment, the runtime and the rendered C(pygun.py).
  - Its id is a hash of that content, of the packages and of the Python version, so the same content gives the same id on every host of
    a run, and building it a second time changes nothing.
  - The first host of a run that builds the release resolves its packages, if the host has no release with the same requirements. All
    hosts get exactly these. Without a change of the requirements nothing is resolved again, unless O(upgrade) asks for it.
  - Releases with the same packages share a virtual environment, below C(environments) in O(root).
  - The source is packed on the control node and sent only to a host that lacks the release, without the files that other releases of the app
    have there. These are linked into the new release.
  - A host without room for the new files, or with another Python than the source is for, is refused before anything is sent.
  - Nothing that runs is touched; M(pygun.stack.activate) puts a release into service. A build that fails, or is killed, leaves nothing that counts as one.
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
  include:
    description:
      - Patterns of names or paths in the source to take along although git ignores them, such as C(static/dist) or C(*.onnx).
      - O(exclude) wins over them.
    type: list
    elements: str
    default: []
  shared_paths:
    description:
      - Paths in the source that outlive releases, such as C(instance), C(uploads/) or C(app.db). In a release each is a link into C(shared)
        of O(root). A name without a suffix, or with a slash at its end, is a folder.
      - What the source has there is the first content, which M(pygun.stack.activate) copies if the host has none.
      - A symbolic link that the source has there is kept, wherever it leads.
    type: list
    elements: str
    default: []
  requirements:
    description:
      - Requirement files, relative to the source, or absolute paths on the control node. Lock files and C(pyproject.toml) are read, too.
      - Hashes in them are checked. Paths in them are relative to the source, or to the file that names them; what they lead to has to
        be part of the source. Nothing is installed as editable.
      - When empty, the first of these in the source is taken, namely C(requirements.txt), C(pylock.toml), C(uv.lock), C(poetry.lock),
        C(pdm.lock), C(Pipfile.lock), C(pyproject.toml), C(setup.py).
    type: list
    elements: str
    default: []
  extras:
    description: Extras, dependency groups and categories of Pipenv to install with the project.
    type: list
    elements: str
    default: []
  require_hashes:
    description: Refuse a release if one of its packages has no hash in O(requirements), including those of O(server_packages).
    type: bool
    default: false
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
  upgrade:
    description:
      - Packages to resolve again, namely V(true) for all, or names in a list or separated by commas. The other packages keep their
        versions, as far as they fit.
      - If that changes a package, it makes a new release.
    type: raw
    default: false
  app_python:
    description:
      - The interpreter that the environment is made from, as a path, or as a version such as C(3.12) of which the host has an interpreter.
      - When empty, it is O(python).
    type: str
    default: ""
  extra_files:
    description:
      - Files from outside of the source, such as a model, which the release has in its source.
      - Those with C(src) are packed on the control node. Those with C(url) are fetched by the host as the account of the builds, unless a former
        release has them; with O(wheelhouse) the control node fetches them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the release has it, relative to the source.
        type: str
        required: true
      src:
        description: A file or a directory on the control node.
        type: str
      url:
        description: Address of a file (http or https). Needs O(extra_files[].sha256).
        type: str
      sha256:
        description: Digest of the file.
        type: str
      unarchive:
        description: Whether it is an archive (tar or zip), and O(extra_files[].path) the directory of what is in it.
        type: bool
        default: false
      headers:
        description: Headers of the request, such as one with a token. They reach no log and no list of processes.
        type: dict
  fetch:
    description: Those of O(extra_files) that the host fetches. Set by the action plugin.
    type: list
    elements: dict
    default: []
  fetch_from:
    description: Addresses and headers of O(fetch), as JSON. Set by the action plugin.
    type: str
    default: ""
  pygun_py:
    description: Content of C(pygun.py).
    type: str
    default: ""
  pygun_py_shown:
    description:
      - What a diff may show of O(pygun_py), namely the same text rendered without a user's own settings, which may come from a vault.
      - When empty, a diff shows nothing of C(pygun.py).
    type: str
    default: ""
  runtime:
    description: Directory of the runtime package on the control node.
    type: str
    default: ""
  by:
    description: Name of the operator. A second deploy at the same time shows it.
    type: str
    default: ""
  service:
    description:
      - App, address and time-outs that O(pygun_py) serves. The release keeps them for its readers, such as M(pygun.stack.status).
      - Settings that are off are left out.
    type: dict
    default: {}
  activation:
    description:
      - Parameters of M(pygun.stack.activate), but C(release) and C(rollout). If the release exists, the same round trip reports whether it is
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
  needs:
    description: Digest of what the source says about packages. Set by the action plugin.
    type: str
    default: ""
  pythons:
    description: The versions of Python that the source is for, each after the place that says so. Set by the action plugin.
    type: raw
  locks:
    description: Digests of the locks that other hosts of the run have, by what they were resolved from. Set by the action plugin.
    type: dict
    default: {}
  lock:
    description: The lock that this host is to install. Set by the action plugin.
    type: str
    default: ""
  lock_wanted:
    description: Whether other hosts of the run may need the lock. Set by the action plugin.
    type: bool
    default: false
  resolution:
    description:
      - V(only) if packages are to be resolved, and nothing built, so that the other hosts of the run need not wait for the build.
        V(done) if this host has done so. Set by the action plugin.
    type: str
    choices: ['', only, done]
    default: ''
attributes:
  check_mode:
    description:
      - Says which release would be built. The id is the same as in the real run, unless packages have to be resolved; then it is a
        provisional one.
    support: full
  diff_mode:
    description:
      - Lists the files and the shared paths that differ from the current release, and shows the text of what changes in files, up to a limit.
      - Shows which packages are added, removed or changed. In check mode, if they have to be resolved, it shows those that are asked for.
      - Not shown is what may be secret, such as V(.env), a private key, and O(pygun_py), in whose place O(pygun_py_shown) is shown.
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
packages:
  description:
    - V(resolved) if the packages were resolved, or have to be. V(kept) if this host has them from an earlier release, V(given) if another
      host of the run has resolved them.
  returned: success
  type: str
  sample: kept
inputs:
  description: Names what the packages are resolved from, namely requirements, options, Python version and platform.
  returned: success
  type: str
  sample: 0a4c7d1e9b3f5826-3.11.2
notes:
  description:
    - How the source was read, in sentences. They say which files name the packages, and how many files git ignores.
    - They are also shown once for a run that builds the release, or would build it.
  returned: success
  type: list
  elements: str
  sample:
    - Packages are those of requirements.txt.
    - Packages come from PyPI, without hashes.
    - "3 files are left out, since git ignores them: 2 MB; the largest: static/dist/app.js (2 MB)."
built_from_source:
  description: Packages that this run had to build, which runs code of theirs as the app's build account. Without projects of the app's own source.
  returned: when the release was built
  type: list
  elements: str
  sample: [uwsgidecorators]
code:
  description: The entry of the page Troubleshooting, if the cause is a known one, or null. The message has its text.
  returned: failure
  type: str
"""

import grp
import tarfile

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..module_utils import python_env
from ..module_utils.activation.errors import ActivationError
from ..module_utils.activation.options import ARGUMENT_SPEC, options_from
from ..module_utils.activation.transaction import Activation
from ..module_utils.diagnosis.symptoms import advice
from ..module_utils.host import build_account
from ..module_utils.release import app_files, app_python, contents, installable
from ..module_utils.release.build import build, plan, resolve
from ..module_utils.release.differences import manifest_of, packages_shown, shown
from ..module_utils.release.environments import Environments
from ..module_utils.release.lock import Held, locked
from ..module_utils.release.package_lock import names_to_upgrade
from ..module_utils.release.shared_paths import SharedPathError
from ..module_utils.release.store import ReleaseStore
from ..module_utils.stack_module import StackModule


def settled(module, release):
    """Whether the release is in service as is asked for."""
    given = module.params["activation"]
    if given is None or module.check_mode:
        return False
    checked = ArgumentSpecValidator(ARGUMENT_SPEC).validate({**given, "release": release})
    if checked.error_messages:
        module.fail_json(msg=f"activation: {'; '.join(checked.error_messages)}. Nothing was changed.")
    warnings = []
    try:
        found = Activation(options_from(checked.validated_parameters), warnings.append).settled()
    except ActivationError as error:
        module.fail_json(msg=str(error))
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
            "include": listing,
            "require_hashes": {"type": "bool", "default": False},
            "shared_paths": listing,
            "requirements": listing,
            "extras": listing,
            "packages": listing,
            "server_packages": listing,
            "overrides": listing,
            "app_python": text,
            "extra_files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "src": {"type": "str"},
                    "url": {"type": "str"},
                    "sha256": {"type": "str"},
                    "unarchive": {"type": "bool", "default": False},
                    "headers": {"type": "dict", "no_log": True},
                },
            },
            "fetch": {"type": "list", "elements": "dict", "default": []},
            "fetch_from": {**text, "no_log": True},
            "pygun_py": text,
            "pygun_py_shown": text,
            "runtime": text,
            **python_env.INSTALLER_OPTIONS,
            "activation": {"type": "dict"},
            "content": text,
            "files": {"type": "dict", "default": {}},
            "archive": {"type": "path"},
            "origin": {"type": "dict", "default": {}},
            "upgrade": {"type": "raw", "default": False},
            "needs": text,
            "pythons": {"type": "raw"},
            "locks": {"type": "dict", "default": {}},
            "lock": text,
            "lock_wanted": {"type": "bool", "default": False},
            "resolution": {"type": "str", "default": "", "choices": ["", "only", "done"]},
            "by": text,
            "service": {"type": "dict", "default": {}},
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
    params["upgrade"] = names_to_upgrade(params["upgrade"])
    store = ReleaseStore(params["root"])
    try:
        params["python"], python = app_python.wanted(params["app_python"], params["python"], module.check_mode)
    except app_python.NoInterpreter as error:
        module.fail_json(msg=str(error))
    wanted = plan(params, python, store)
    release = wanted.release
    # A damaged release, or one whose interpreter is gone (or has become another), is built again in its place: nothing could start from it.
    standing = store.is_complete(release) and not store.damage(release)
    result = {"release": release, "path": store.path(release), "exists": standing}
    result.update(packages=wanted.packages, inputs=wanted.kind_of_host)
    if not standing and (refusal := installable.python_refusal(params["pythons"] or (), python)):
        module.fail_json(msg=refusal, **result)
    shares_lock = params["lock_wanted"] and wanted.kind_of_host not in params["locks"]
    if result["exists"] or not (params["archive"] or params["files"]):
        if shares_lock and wanted.lock:
            result.update(lock=wanted.lock.text, lock_digest=wanted.lock.digest)
        if not standing:
            # A release that is built in its place lends nothing.
            known = {*contents.known(store, release), *app_files.unpacked(params["fetch"], store, release)}
            result.update(known=sorted(known), free=contents.free_space(params["root"]))
        module.exit_json(changed=False, settled=standing and settled(module, release), **result)
    result["settled"] = False

    current = store.current()
    before = manifest_of(store, current)
    if module.check_mode:
        differences = shown(store, before, params["files"], current, release, params["shared_paths"])
        module.exit_json(changed=True, **differences, **packages_shown(store, current, wanted.lock), **result)
    try:
        grp.getgrnam(params["group"])
    except KeyError:
        module.fail_json(msg=f"There is no group {params['group']} on this host. Nothing was changed.", **result)
    try:
        with locked(params["root"], params["by"], patience=0):
            account = build_account.have(params["name"])
            build_account.end_processes(account)  # of a run that was killed: they would go on with what is removed now
            store.recover()
            Environments(params["root"]).recover()
            work = resolve if params["resolution"] == "only" else build
            built = work(params, wanted, python, store, account)
    except contents.Lacking as error:
        module.exit_json(changed=False, lacking=str(error), **result)
    except Held as error:
        module.fail_json(msg=str(error), **result)
    except (OSError, build_account.InstallError, tarfile.TarError, SharedPathError) as error:
        running = f"Release {current} is current and was not touched." if current else "Nothing was installed."
        known = python_env.explained(error)
        cause = f"\n{advice(known)}" if known else ""
        module.fail_json(
            msg=f"Release {release} of {params['name']} cannot be built: {error}{cause}\n{running}",
            code=getattr(known, "code", None),
            **result,
        )
    result["built_from_source"] = built.from_source
    result.update({"lock": built.lock.text, "lock_digest": built.lock.digest} if shares_lock else {})
    if params["resolution"] == "only":
        module.exit_json(changed=False, **result)
    for text in filter(None, (*built.lock.warnings, built.warning)):
        module.warn(text)
    result.update(release=built.release, path=store.path(built.release), exists=built.exists, packages=built.packages)
    differences = shown(
        store, before, manifest_of(store, built.release), current, built.release, params["shared_paths"]
    )
    differences.update(packages_shown(store, current, built.lock))
    module.exit_json(changed=not built.exists, **differences, **result)


if __name__ == "__main__":
    main()
