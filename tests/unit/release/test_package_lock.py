# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lock of a release: what it says, what it never says, and how the hosts of a run share it."""

import contextlib
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ansible_collections.pygun.stack.plugins.action.release import ActionModule
from ansible_collections.pygun.stack.plugins.module_utils.host.logins import Logins, masked
from ansible_collections.pygun.stack.plugins.module_utils.release import differences, package_lock
from ansible_collections.pygun.stack.plugins.module_utils.release.package_lock import PackageLock, Unreadable
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore
from ansible_collections.pygun.stack.plugins.module_utils.resolved import Resolved, chosen_by_uv
from ansible_collections.pygun.stack.plugins.plugin_utils import needs
from ansible_collections.pygun.stack.plugins.plugin_utils.pack import Entry, Shared, entry_from_bytes
from ansible_collections.pygun.stack.plugins.plugin_utils.run_locks import RunLocks, needs_digest

HASHES = tuple(f"sha256:{digit * 64}" for digit in "0123")
RELEASE = "0123456789abcdef"


def lock(*packages, warnings=(), source="/srv/x/src"):
    return PackageLock.of(packages, warnings, source)


def test_what_is_written_is_read_again():
    written = lock(
        Resolved("flask", "3.1.2", "", HASHES[:2]),
        Resolved("common", "", "file:///srv/x/src/libs/common"),
        Resolved("blinker", "1.9.0+local-1"),
        warnings=["closed is 1.0,\nand 2.0 without"],
    )
    read = PackageLock.parse(written.text)
    assert (read.packages, read.digest) == (written.packages, written.digest)
    assert read.warnings == ("closed is 1.0, and 2.0 without",)
    assert read.folders() == ["libs/common"]
    assert read.pins == "blinker==1.9.0+local-1\ncommon @ file://${PROJECT_ROOT}/libs/common\nflask==3.1.2\n"
    assert lock(*written.packages).digest == written.digest, "a warning changes nothing that is installed"


@pytest.mark.parametrize(
    "line",
    [
        "--index-url=https://evil/simple",
        "flask",
        "flask==3.1 --index-url https://evil",
        "flask==3.1 ; python_version > '3'",
        "-r /etc/passwd",
        "flask==3.1 \\",
        "x @ https://h/x.whl --no-deps",
        "flask==3.1 --hash=md5:00",
        "",
    ],
)
def test_a_line_that_another_host_could_have_made_up_is_refused(line):
    with pytest.raises(Unreadable):
        PackageLock.parse(f"{line}\nblinker==1.9.0\n")


@pytest.mark.parametrize("login", ["deploy:s3cret", "ghp_token"])
def test_no_login_stands_in_a_lock_and_each_host_puts_in_its_own(login):
    text = f"x @ git+https://{login}@git.example/team/x.git@main"
    address = f"git+https://{login}@git.example/team/x.git@{'a' * 40}"
    made = lock(Resolved("x", "", address))
    assert login not in made.text
    assert PackageLock.parse(made.text).requirements(Logins([text])) == ([], [f"x @ {address}"])
    # ssh has a user there, and no secret.
    assert "git@git.example" in lock(Resolved("x", "", "git+ssh://git@git.example/x.git@abc")).text


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("x @ https://h/x-1.whl?token=s3cret&raw=1", "https://h/x-1.whl?token=s3cret&raw=1"),
        ("x @ https://h/x-1.whl?X-Amz-Signature=s3cret#sha256=ab", "https://h/x-1.whl?X-Amz-Signature=s3cret"),
        (
            "x[async] @ git+https://s3cret@h/team/x.git@v1#subdirectory=a",
            "git+https://s3cret@h/team/x.git@abc#subdirectory=a",
        ),
        ("x @ git+ssh://git:s3cret@h/x.git", "git+ssh://git:s3cret@h/x.git@abc"),
        ("x @ https://me:s3@cret@h/x.whl", "https://me:s3@cret@h/x.whl"),
        ("https://s3cret@h/x-1.whl", "https://s3cret@h/x-1.whl"),
        ("dependencies = ['x @ https://s3cret@h/x-1.whl', ", "https://s3cret@h/x-1.whl"),
    ],
)
def test_no_token_of_any_address_stands_in_a_lock(given, resolved):
    other = "y @ https://other@h/y.whl?token=other"  # of the same host
    made = lock(Resolved("x", "", resolved))
    assert "cret" not in made.text
    assert "cret" not in masked(given)
    assert PackageLock.parse(made.text).requirements(Logins([given, other]))[1] == [f"x @ {resolved}"]
    assert PackageLock.parse(made.text).requirements(Logins([other, given]))[1] == [f"x @ {resolved}"]


def test_two_packages_of_one_address_have_their_own_field():
    given = ["x @ https://h/get?key=x.whl", "Y_y @ https://h/get?key=y.whl"]
    made = lock(*(Resolved(name, "", text.split(" @ ")[1]) for name, text in zip(["x", "y-y"], given)))
    assert made.requirements(Logins(given))[1] == [given[0], given[1].replace("Y_y", "y-y")]


def test_a_field_that_says_which_file_is_meant_stays():
    assert masked("https://h/x?version=2&token=a#egg=x") == "https://h/x?version=2&token=***#egg=x"


#: What a module is told of the place that packages come from, and how they are built.
PLACE = {"index_url": "", "wheelhouse": "", "extra_args": []}
INPUTS = {"needs": "", "packages": [], "server_packages": [], "overrides": [], "uv": "uv", **PLACE}


@pytest.mark.parametrize(
    ("change", "is_new"),
    [
        ({"index_url": "https://h/simple"}, True),
        ({"wheelhouse": "/opt/wheels"}, True),
        ({"wheelhouse": "/opt/wheels", "index_url": "https://h/simple"}, True),
        ({"extra_args": ["--no-binary=x"]}, True),
        ({}, False),
    ],
)
def test_packages_are_resolved_anew_when_they_come_from_elsewhere(change, is_new):
    keys = {package_lock.inputs_key({**INPUTS, **given}, "3.11.2") for given in ({}, change)}
    assert len(keys) == 1 + is_new


def test_another_password_resolves_nothing_anew():
    urls = ("https://me:one@h/simple", "https://me:two@h/simple")
    assert len({package_lock.inputs_key({**INPUTS, "index_url": url}, "3.11.2") for url in urls}) == 1


def test_an_index_that_has_got_more_files_of_the_same_version_changes_nothing():
    before, more = lock(Resolved("x", "1", "", HASHES[:1])), lock(Resolved("x", "1", "", HASHES[:2]))
    assert before.same_as(more) and before.same_as(lock(Resolved("x", "1")))
    assert not before.same_as(lock(Resolved("x", "1", "", HASHES[2:])))
    assert not before.same_as(lock(Resolved("x", "2", "", HASHES[:1])))


def test_the_hashes_and_the_options_of_the_app_are_found(tmp_path):
    (tmp_path / "app.txt").write_text(
        "--require-hashes\n--extra-index-url https://u:p@h/simple\n-r more.txt\n"
        f"Flask[async]==3.1 \\\n    --hash={HASHES[0]}\n"
    )
    (tmp_path / "more.txt").write_text(f"x_y==1 --hash={HASHES[2]} --hash={HASHES[1]}\n--pre\n")
    files = [str(tmp_path / "app.txt")]
    assert package_lock.hashes_in(files, {"flask": "3.1"}) == {"flask": HASHES[:1], "x-y": HASHES[1:3]}
    assert package_lock.hashes_in(files, {"flask": "3.1.2"}) == {"x-y": HASHES[1:3]}
    assert package_lock.options_in(files) == ["--extra-index-url https://u:p@h/simple", "--pre"]
    assert "u:p" not in masked(package_lock.options_in(files)[0])


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (False, []),
        ("", []),
        ("false", []),
        (True, ["true"]),
        ("True", ["true"]),
        ("flask, jinja2", ["flask", "jinja2"]),
        ("[flask]", ["flask"]),
        (["flask"], ["flask"]),
    ],
)
def test_what_is_to_be_upgraded_can_be_said_in_each_usual_way(value, names):
    assert package_lock.names_to_upgrade(value) == names


def test_what_uv_prints_of_every_kind_of_package_is_read():
    said = (
        "Would install 4 packages\n + blinker==1.9.0\n + Click @ file:///a/click-8.whl\n"
        " ~ x==1.0 (from git+https://h/x.git@0a1b)\n + y==2 \n"
    )
    assert chosen_by_uv(said) == [
        Resolved("blinker", "1.9.0"),
        Resolved("click", "", "file:///a/click-8.whl"),
        Resolved("x", "", "git+https://h/x.git@0a1b"),
    ]


# -- the hosts of a run ----------------------------------------------------------------------------------------------


def answer(inputs, text):
    return {"inputs": inputs, "lock": text, "lock_digest": f"digest of {text}", "release": RELEASE}


def test_the_first_lock_of_a_kind_holds_and_no_answer_shows_it(tmp_path):
    locks = RunLocks(tmp_path)
    for inputs, text in (("debian12", "first"), ("debian12", "second"), ("debian13", "other")):
        given = answer(inputs, text)
        locks.keep(given)
        assert given == {"inputs": inputs, "release": RELEASE}
    assert RunLocks(tmp_path).digests() == {"debian12": "digest of first", "debian13": "digest of other"}
    assert (locks.text("debian12"), locks.text("debian11")) == ("first", "")


def test_one_host_resolves_and_the_others_of_its_kind_wait_for_it(tmp_path):
    resolved, begun = [], threading.Event()

    def host(name):
        locks = RunLocks(tmp_path)
        with locks.one_resolves("debian12"):
            if not locks.text("debian12"):
                resolved.append(name)
                begun.set()
                threading.Event().wait(0.2)
                locks.keep(answer("debian12", f"of {name}"))

    threads = [threading.Thread(target=host, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    with RunLocks(tmp_path).one_resolves("debian13"):  # another kind does not wait
        assert begun.wait(10)
    for thread in threads:
        thread.join(20)
    assert len(resolved) == 1


def action_on(host, calls=None, answer_to=lambda args: {}):
    """The action plugin for a host, whose module gives answers of ours."""
    action = ActionModule.__new__(ActionModule)
    action._who = f"scoring, {host}"

    def module(args, _task_vars):
        if calls is not None:
            calls.append((host, args["resolution"], args["lock"]))
        return answer_to(args)

    action._module = module
    return action


def test_hosts_wait_for_the_resolution_of_the_first_and_then_install_side_by_side(tmp_path):
    hosts, calls, both = ["a", "b"], [], threading.Barrier(2)

    def answer_to(args):
        if args["resolution"] == "only":
            threading.Event().wait(0.2)
            return {**answer("debian12", "the lock"), "built_from_source": ["x"]}
        both.wait(20)  # fails if one waits until the other is ready
        return {"inputs": "debian12", "packages": "resolved", "built_from_source": []}

    def host(name):
        action = action_on(name, calls, answer_to)
        given = action._build(RunLocks(tmp_path), "debian12", {"resolution": ""}, {"ansible_play_batch": hosts})
        return given["built_from_source"]

    with ThreadPoolExecutor() as pool:
        built = list(pool.map(host, hosts))
    assert sorted(built) == [[], ["x"]]
    first = calls[0][0]
    assert calls[0] == (first, "only", "")
    assert sorted(calls[1:]) == sorted((name, "done" if name == first else "", "the lock") for name in hosts)


def test_a_host_that_is_alone_resolves_and_builds_in_one_step(tmp_path):
    calls = []
    action = action_on("a", calls, lambda _args: answer("debian12", "the lock"))
    action._build(RunLocks(tmp_path), "debian12", {"resolution": ""}, {"ansible_play_batch": ["a"]})
    assert calls == [("a", "", "")]
    assert RunLocks(tmp_path).text("debian12") == "the lock"


def test_a_resolution_that_fails_ends_the_deploy_of_this_host_and_the_next_one_tries(tmp_path):
    calls = []
    action = action_on("a", calls, lambda _args: {"failed": True, "inputs": "debian12"})
    for _time in range(2):
        assert action._build(RunLocks(tmp_path), "debian12", {"resolution": ""}, {"ansible_play_batch": ["a", "b"]})[
            "failed"
        ]
    assert calls == [("a", "only", "")] * 2


def test_a_release_that_another_run_has_built_meanwhile_is_taken_as_it_is(tmp_path):
    given = {"inputs": "debian12", "exists": True, "release": RELEASE}
    action = action_on("a", answer_to=lambda _args: given)
    assert (
        action._build(RunLocks(tmp_path), "debian12", {"resolution": ""}, {"ansible_play_batch": ["a", "b"]}) == given
    )


def test_what_a_host_has_lost_meanwhile_is_sent_with_the_files_that_only_the_control_node_can_fetch(tmp_path):
    content = b"model"
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / f"fetched-{digest}").write_bytes(content)
    file = {"path": "m.bin", "url": "http://127.0.0.1:9/m.bin", "sha256": digest}
    sent, action = [], action_on("a")

    @contextlib.contextmanager
    def send(_shared, _entries, known, extra):
        sent.append((known, [entry.digest for entry in extra]))
        yield "archive"

    action._sent = send
    answers = iter([{"lacking": "m.bin"}, {"release": RELEASE}])
    known, args = (f"file:{digest}",), {"requirements": [], "root": "/srv/x"}
    given = action._send_and_build(Shared(tmp_path), [], known, 1 << 30, [file], args, lambda _args: next(answers))
    assert given == {"release": RELEASE}
    assert sent == [(known, []), ((), [digest])]


def test_a_check_before_the_first_resolution_shows_what_is_asked_for(tmp_path):
    (tmp_path / "app.txt").write_text(
        f"-c constraints.txt\nflask>=3  # from requirements.txt, line 1\nx==1 --hash={HASHES[0]}\n"
        "common @ file://${PROJECT_ROOT}/libs/common\ny @ https://s3cret@h/y.whl\n"
    )
    asked = needs.asked_for([tmp_path / "app.txt"], ["gunicorn==27.0.1"])
    assert asked["before"] == ""
    assert asked["after"].splitlines() == [
        "common @ file://./libs/common",
        "flask>=3",
        "gunicorn==27.0.1",
        "x==1",
        "y @ https://***@h/y.whl",
    ]


def test_the_needs_are_those_of_the_requirements_and_of_projects_in_the_source(tmp_path):
    (tmp_path / "folders.txt").write_text(
        "common @ file://${PROJECT_ROOT}/libs/common  # from requirements.txt, line 1\n"
    )
    folders = Entry("requirements/folders.txt", "d", source=tmp_path / "folders.txt")

    def digest(changed="", **more):
        files = ["src/wsgi.py", "src/pyproject.toml", "src/libs/common/pyproject.toml", "src/libs/common/x.py"]
        entries = [entry_from_bytes(name, b"new" if name == changed else b"") for name in files]
        return needs_digest([*entries, folders], ["requirements/folders.txt"])

    assert digest("src/wsgi.py") == digest("src/libs/common/x.py") == digest("src/pyproject.toml") == digest()
    assert digest("src/libs/common/pyproject.toml") != digest()


# -- what a diff shows -----------------------------------------------------------------------------------------------


def test_the_diff_of_packages_names_versions_and_is_empty_when_they_stay(tmp_path):
    store = ReleaseStore(str(tmp_path))
    before, after = lock(Resolved("x", "1", "", HASHES[:1])), lock(Resolved("x", "2"), Resolved("y", "1"))
    os.makedirs(store.path(RELEASE))
    with open(os.path.join(store.path(RELEASE), "lock.txt"), "w", encoding="utf-8") as stream:
        stream.write(before.text)
    shown = differences.packages_shown(store, RELEASE, after)["packages_diff"]
    assert (shown["before"], shown["after"]) == ("x==1\n", "x==2\ny==1\n")
    assert differences.packages_shown(store, RELEASE, before) == {}
    assert differences.packages_shown(store, RELEASE, None) == {}
    assert differences.packages_shown(store, None, after)["packages_diff"]["before"] == ""


def test_a_release_of_an_older_version_is_compared_by_its_environment(tmp_path):
    store = ReleaseStore(str(tmp_path))
    packages = tmp_path / "releases" / RELEASE / "venv" / "lib" / "python3.11" / "site-packages"
    for name in ("flask-3.0.0", "pip-23.0"):
        (packages / f"{name}.dist-info").mkdir(parents=True)
    assert differences.pins_of(store, RELEASE) == "flask==3.0.0\n"
