# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an app names beside the server's packages: real installers, and a wheelhouse of wheels that hold nothing but their metadata."""

import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env, virtual_env
from ansible_collections.pygun.stack.plugins.module_utils.release import server_packages
from ansible_collections.pygun.stack.plugins.module_utils.release.environments import Needed
from ansible_collections.pygun.stack.plugins.module_utils.release.resolution import Resolution

SERVER = ["gunicorn[gevent]==27.0.1", "gevent==26.9.0"]
WITH_PACKAGING = ["gevent>=24.10.1; extra == 'gevent'", "packaging>=20; extra == 'gevent'"]
WHEELS = {
    ("flask", "3.1.3"): [],
    ("kit", "1.0"): ["gunicorn>=20.1,<24"],
    ("old_kit", "1.0"): ["gunicorn<20"],
    ("greenlet", "3.0.0"): [],
    ("greenlet", "3.5.0"): [],
    ("tracker", "1.27.0"): [],
    ("tracker", "3.17.0"): ["gunicorn<27"],
    ("board", "4.1"): [],
    ("board", "6.1"): ["greenlet<3.2"],
    ("closed", "1.0"): [],
    ("closed", "2.0"): ["packaging<1"],
    ("packaging", "0.9"): [],
    ("packaging", "26.3"): [],
    ("setuptools", "80.8.0"): [],
    ("setuptools", "84.0.0"): [],
    ("gevent", "23.9.1"): [],
    ("gevent", "25.9.1"): [],
    ("gevent", "26.9.0"): ["greenlet>=3.2.2"],
    ("gevent", "27.0.0"): ["greenlet>=3.2.2"],
    ("gunicorn", "19.9.0"): [],
    ("gunicorn", "20.1.0"): ["setuptools>=3.0", "gevent>=1.4; extra == 'gevent'"],
    ("gunicorn", "23.0.0"): ["packaging", "gevent>=1.4; extra == 'gevent'"],
    ("gunicorn", "26.2.0"): WITH_PACKAGING,
    ("gunicorn", "27.0.1"): WITH_PACKAGING,
    ("gunicorn", "28.0.0"): WITH_PACKAGING,
}


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheelhouse")
    for (name, version), needs in WHEELS.items():
        info = f"{name}-{version}.dist-info"
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", "Provides-Extra: gevent"]
        files = {
            f"{info}/METADATA": "\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs), ""]),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        if (name, version) == ("setuptools", "80.8.0"):
            files["pkg_resources/__init__.py"] = ""
        files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in files)
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            for path, text in files.items():
                wheel.writestr(path, text)
    return folder


def both(cases, telling=()):
    """Cases for both installers. pip is slow, and gets the telling ones without PYGUN_FULL: what it is asked is the same text."""
    chosen = cases if os.environ.get("PYGUN_FULL") else [cases[number] for number in telling]
    chosen = [case for case in chosen if "overrides" not in case[0]]  # only uv has them
    return [("uv", *case) for case in cases] + [("pip", *case) for case in chosen]


@pytest.fixture
def build(request, tmp_path, wheelhouse):
    """Install what an app names, given as the text of its requirements.txt; what is in its environment then."""
    uv = shutil.which("uv")
    if request.param == "uv" and not uv:
        pytest.skip("there is no uv on the path")

    def install(requirements="", packages=(), overrides=(), server=SERVER, **files):
        (tmp_path / "src").mkdir()
        for name, text in {"requirements": requirements, **files}.items():
            (tmp_path / "src" / f"{name}.txt").write_text(text)
        params = dict.fromkeys(("index_url", "ca_bundle", "cache_dir"), "")
        params.update(
            requirements=["src/requirements.txt"],
            packages=list(packages),
            server_packages=server,
            overrides=list(overrides),
            python=sys.executable,
            uv=uv if request.param == "uv" else None,
            wheelhouse=str(wheelhouse),
            extra_args=[],
            timeout=300,
            cache_max="0",
        )
        lock = Resolution(params, str(tmp_path)).lock()
        install.warnings = list(lock.warnings)
        Needed(params, str(tmp_path), "3.11").install(lock, str(tmp_path / "venv"), None)
        return virtual_env.installed(str(tmp_path / "venv"))

    return install


def hashed(wheelhouse, *wheels):
    entries = []
    for name, version in (text.split("==") for text in wheels):
        digest = hashlib.sha256((wheelhouse / f"{name}-{version}-py3-none-any.whl").read_bytes()).hexdigest()
        entries.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")
    return "".join(entries)


CASES = [
    ({"requirements": "flask\n"}, "27.0.1", "26.9.0"),
    ({"requirements": "flask\ngunicorn\n"}, "27.0.1", "26.9.0"),
    ({"requirements": "flask\nGunicorn[gthread] # ours\n"}, "27.0.1", "26.9.0"),
    ({"requirements": "gunicorn==23.0.0\r\nflask\r\n"}, "23.0.0", "26.9.0"),
    ({"requirements": "gunicorn[gthread] == 26.2.0\n"}, "26.2.0", "26.9.0"),
    ({"requirements": "gunicorn>=20,<24\n"}, "23.0.0", "26.9.0"),
    ({"requirements": "gunicorn==23.0.0; python_version < '3'\n"}, "27.0.1", "26.9.0"),
    ({"requirements": "gunicorn==23.0.0; python_version > '3'\n"}, "23.0.0", "26.9.0"),
    ({"requirements": "-r more.txt\n", "more": "gunicorn==26.2.0\n"}, "26.2.0", "26.9.0"),
    ({"requirements": "flask\n-c more.txt\n", "more": "gunicorn==26.2.0\n"}, "26.2.0", "26.9.0"),
    ({"packages": ["gunicorn==26.2.0"]}, "26.2.0", "26.9.0"),
    ({"requirements": "gevent==25.9.1\n"}, "27.0.1", "25.9.1"),
    ({"requirements": "gevent\n"}, "27.0.1", "26.9.0"),
    ({"requirements": "gevent==23.9.1\ngunicorn==23.0.0\n"}, "23.0.0", "23.9.1"),
    ({"requirements": "kit\n"}, "23.0.0", "26.9.0"),
]


@pytest.mark.parametrize(("build", "given", "gunicorn", "gevent"), both(CASES), indirect=["build"])
def test_the_app_decides_versions_and_the_extras_of_the_server_hold(build, given, gunicorn, gevent):
    found = build(**given)
    assert (found["gunicorn"], found["gevent"], "packaging" in found) == (gunicorn, gevent, True)


#: What the app gets without the server's packages, it gets with them.
OWN = [
    ({"requirements": "flask\ntracker\n"}, {"tracker": "3.17.0", "gunicorn": "26.2.0", "gevent": "26.9.0"}),
    ({"requirements": "board\n"}, {"board": "6.1", "gunicorn": "27.0.1", "gevent": "25.9.1", "greenlet": "3.0.0"}),
    ({"requirements": "tracker<2\n"}, {"tracker": "1.27.0", "gunicorn": "27.0.1"}),
    ({"packages": ["tracker"]}, {"tracker": "3.17.0", "gunicorn": "26.2.0"}),
    ({"requirements": "tracker\n", "overrides": ["gunicorn==27.0.1"]}, {"tracker": "3.17.0", "gunicorn": "27.0.1"}),
]


@pytest.mark.parametrize(
    ("build", "given", "versions"),
    both(OWN),
    indirect=["build"],
)
def test_the_server_does_not_change_what_the_app_names(build, given, versions):
    found = build(**given)
    assert found == {**found, **versions, "packaging": "26.3"}
    assert build.warnings == []


@pytest.mark.parametrize("build", ["uv", pytest.param("pip", marks=pytest.mark.full)], indirect=True)
def test_a_version_that_the_server_has_changed_is_told_with_both_and_the_way_out(build):
    found = build("flask\nclosed\n")
    assert (found["closed"], found["gunicorn"], found["packaging"]) == ("1.0", "27.0.1", "26.3")
    (warning,) = build.warnings
    assert "closed is 1.0, and 2.0 without the server's packages (gunicorn[gevent]==27.0.1, gevent==26.9.0)" in warning
    assert "write closed==2.0" in warning


@pytest.mark.parametrize("build", ["uv"], indirect=True)
def test_the_way_out_says_what_stands_in_its_way(build):
    with pytest.raises(python_env.InstallError, match="closed>=2.0 depends on packaging<1"):
        build("closed==2.0\n")


LOCKS = [("", "27.0.1"), ("", "23.0.0"), ("--require-hashes\n", "27.0.1"), ("--require-hashes\n", "23.0.0")]


@pytest.mark.parametrize(("build", "first", "version"), both(LOCKS, (0,)), indirect=["build"])
def test_a_lock_with_hashes_need_not_have_what_the_server_needs(build, wheelhouse, first, version):
    lock = [f"gunicorn=={version}", *(["packaging==26.3"] if version == "23.0.0" else [])]
    found = build(first + hashed(wheelhouse, "flask==3.1.3", *lock))
    assert found == {**found, "gunicorn": version, "gevent": "26.9.0", "packaging": "26.3", "flask": "3.1.3"}


@pytest.mark.parametrize(("build", "first"), both([("",), ("--require-hashes\n",)], (0,)), indirect=["build"])
def test_a_package_that_is_named_beside_a_lock_with_hashes_needs_none(build, wheelhouse, first):
    found = build(first + hashed(wheelhouse, "flask==3.1.3"), packages=["gunicorn==23.0.0"])
    assert found == {**found, "gunicorn": "23.0.0", "flask": "3.1.3"}


@pytest.mark.parametrize("build", ["uv"], indirect=True)
def test_an_override_has_its_own_hashes_and_not_those_of_the_lock(build, wheelhouse):
    found = build(hashed(wheelhouse, "flask==3.1.3", "gunicorn==27.0.1"), overrides=["gunicorn==26.2.0"])
    assert (found["flask"], found["gunicorn"]) == ("3.1.3", "26.2.0")


@pytest.mark.parametrize("build", ["uv"], indirect=True)
def test_gunicorn_20_gets_the_setuptools_that_it_needs(build):
    found = build("gunicorn==20.1.0\n")
    assert (found["gunicorn"], found["gevent"]) == ("20.1.0", "26.9.0")
    assert found["setuptools"].split(".")[0] < "81"


@pytest.mark.parametrize("build", ["uv"], indirect=True)
def test_an_override_keeps_the_extras_of_the_server(build):
    found = build("gunicorn==23.0.0\n", overrides=["gunicorn==27.0.1"])
    assert (found["gunicorn"], found["packaging"]) == ("27.0.1", "26.3")


@pytest.mark.parametrize("build", ["uv", "pip"], indirect=True)
def test_what_does_not_fit_is_named_on_both_sides(build):
    with pytest.raises(python_env.InstallError) as caught:
        build("flask\ngevent==23.9.1\n")
    assert "gevent==23.9.1 (src/requirements.txt, line 2)" in caught.value.cause
    assert "gunicorn[gevent]==27.0.1" in caught.value.cause
    assert "gunicorn==23.0.0" in caught.value.remedy  # see above: it fits


@pytest.mark.parametrize("build", ["uv"], indirect=True)
def test_a_setuptools_that_gunicorn_20_cannot_use_is_named(build):
    with pytest.raises(python_env.InstallError) as caught:
        build("gunicorn==20.1.0\nsetuptools==84.0.0\n")
    assert "setuptools==84.0.0 (src/requirements.txt, line 2)" in caught.value.cause


@pytest.mark.parametrize(
    ("build", "text", "said"),
    [
        ("uv", "old_kit\n", "A package of the app's brings gunicorn 19.9.0"),
        ("uv", "old_kit==1.0\n", "A package of the app's brings gunicorn 19.9.0"),
        ("uv", "gunicorn==19.9.0; python_version > '3'\n", "gunicorn==19.9.0; python_version > '3' (src/requirements.txt, line 1)"),
        ("uv", "gunicorn<20; python_version > '3'\n", "gunicorn<20; python_version > '3' (src/requirements.txt, line 1)"),
    ],
    indirect=["build"],
)  # fmt: skip
def test_an_older_gunicorn_than_any_that_can_serve_is_refused_in_a_sentence(build, text, said):
    with pytest.raises(python_env.InstallError) as caught:
        build(text)
    assert said in caught.value.cause
    assert "no gunicorn before 20.1.0 can serve here" in caught.value.cause
    assert "20.1.0 to 27.0.1 work" in caught.value.remedy


@pytest.mark.parametrize("build", ["uv"], indirect=True)
def test_an_index_that_lacks_our_version_gives_no_other(build):
    with pytest.raises(python_env.InstallError, match="27.0.9"):
        build("flask\n", server=["gunicorn[gevent]==27.0.9", "gevent==26.9.0"])


@pytest.mark.parametrize(
    ("text", "too_old"),
    [
        ("gunicorn==19.9.0", True),
        ("gunicorn[gevent] == 20.0.4", True),
        ("gunicorn==20.0.*", True),
        ("gunicorn===20.0", True),
        ("gunicorn<20", True),
        ("gunicorn<20.1", True),
        ("gunicorn>=19,<=20.0.4", True),
        ("gunicorn~=19.9", True),
        ("gunicorn~=20.0.4", True),
        ("Gunicorn~=20.0", False),
        ("gunicorn==20.*", False),
        ("gunicorn==20.1", False),
        ("gunicorn==20.1.0", False),
        ("gunicorn<21", False),
        ("gunicorn>=19", False),
        ("gunicorn", False),
        ("gunicorn==19.9.0; python_version < '3'", False),
        ("gunicorn-extra==1.0", False),
        ("gunicorn==23.0.0", False),
    ],
)
def test_a_gunicorn_that_cannot_serve_is_refused_by_name(tmp_path, text, too_old):
    (tmp_path / "more.txt").write_text(f"# ours\nflask \\\n  >=3\n{text} --hash=sha256:00\n")
    (tmp_path / "requirements.txt").write_text("-rmore.txt\n")
    found = server_packages.named(SERVER, [str(tmp_path / "requirements.txt")], [], str(tmp_path))
    said = [where + why for where, why in server_packages.refused(found)]
    assert [line.startswith(f"more.txt, line 4 names {text}, and no gunicorn") for line in said] == [True] * too_old
    assert list(server_packages.refused(found, ["gunicorn==27.0.1"])) == []


def test_the_versions_that_the_lossless_worker_knows_are_told_alike():
    runtime = Path(__file__).parents[3] / "roles/flask_app/files/pygun_runtime/runtime.py"
    assert f'TESTED_GUNICORN = ("{server_packages.LOSSLESS[0]}",)' in runtime.read_text()


def test_a_warning_repeats_nothing_that_an_app_has_made_up():
    record = {"worker_class": "gevent", "lossless": False, "gunicorn": "23.0.0"}
    assert "gunicorn 23.0.0 is not known" in server_packages.stock_worker(record)
    assert "own gevent worker serves" in server_packages.stock_worker({**record, "gunicorn": "27.0.1"})
    for version in ("1\nAll is well", ["1"], None, "x" * 99):
        assert "gunicorn of an unknown version is" in server_packages.stock_worker({**record, "gunicorn": version})
    assert server_packages.stock_worker({**record, "lossless": True}) == ""
    assert server_packages.stock_worker({**record, "worker_class": "sync"}) == ""
    assert server_packages.stock_worker({}) == ""
