# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes and what stays. Whether the list is complete, the scenario `offline` finds out on a host."""

import json

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import inspection
from ansible_collections.pygun.stack.plugins.module_utils.host import places as host_places
from ansible_collections.pygun.stack.plugins.module_utils.supervisor import others
from ansible_collections.pygun.stack.plugins.module_utils.uninstall import footprint
from ansible_collections.pygun.stack.plugins.module_utils.uninstall.footprint import (
    AppPlaces,
    BalancerPlaces,
    Thing,
    standing,
)
from ansible_collections.pygun.stack.plugins.module_utils.uninstall.plan import Plan
from ansible_collections.pygun.stack.plugins.module_utils.uninstall.removal import Options, Uninstall, UninstallError
from ansible_collections.pygun.stack.plugins.modules import wheelhouse


@pytest.fixture(name="app")
def app_fixture(tmp_path):
    """An app called a, whose logs lie beside those of one called a-b."""
    root = tmp_path / "srv" / "a"
    for folder in (root / "releases" / "0" / "src", root / "shared", tmp_path / "log", tmp_path / "conf" / "conf.d"):
        folder.mkdir(parents=True)
    for name in ("state.json", "activation.lock"):
        (root / name).write_text("")
    (root / "current").symlink_to("releases/0")
    for name in (
        "a-0.log",
        "a-0.log.1.gz",
        "a-1.raw.log",
        "a-memory.log",
        "a.job-x.log",
        "a-b.job-x.log",
        "a-b-0.log",
        "a-0.logs",
        "a.worker-0.log.1.gz",
        "notes",
    ):
        (tmp_path / "log" / name).write_text("")
    return AppPlaces("a", str(root), str(tmp_path / "conf"), str(tmp_path / "log"), str(tmp_path / "run"))


def test_logs_of_the_app_alone_are_its_own(app):
    names = [path.rpartition("/")[2] for path in app.logs()]
    assert names == ["a-0.log", "a-0.log.1.gz", "a-1.raw.log", "a-memory.log", "a.job-x.log", "a.worker-0.log.1.gz"]


def test_a_folder_goes_only_if_everything_in_it_goes(app):
    kept, all_of_it = Plan(), Plan()
    kept.add(app.things(data=False))
    assert f"{app.root}/" not in kept.lines()
    assert kept.left == [f"{app.log_dir}/{name}" for name in ("a-0.logs", "a-b-0.log", "a-b.job-x.log", "notes")] + [
        app.shared
    ]
    all_of_it.add(app.things(data=True))
    assert all_of_it.lines()[-1] == f"{app.root}/"
    assert app.shared not in all_of_it.left


def test_what_names_the_app_goes_last(app):
    paths = [thing.path for thing in app.things(data=True)]
    assert paths.index(f"{app.conf_dir}/conf.d/a.conf") < paths.index(f"{app.root}/releases")
    assert paths.index(f"{app.root}/releases") < paths.index(f"{app.root}/state.json")


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("")
    (tmp_path / "link").symlink_to("precious")
    Thing(str(tmp_path / "link"), "tree").remove()
    assert not (tmp_path / "link").exists()
    assert (tmp_path / "precious" / "file").exists()


def test_a_folder_of_the_system_goes_if_it_is_empty_and_is_not_spoken_of(tmp_path, app, monkeypatch):
    monkeypatch.setattr(footprint, "_WANTS", str(tmp_path))
    own = tmp_path / "pygun-a.socket"
    own.write_text("")
    folder = Thing(str(tmp_path), "system")
    assert folder in app.things(data=False)
    plan = Plan()
    plan.add([folder])
    assert (plan.lines(), plan.left) == ([], [])
    own.unlink()
    assert folder not in app.things(data=False)


def test_of_an_app_that_is_not_there_nothing_goes(tmp_path):
    """The folder of every app's candidates is empty between two deploys."""
    (tmp_path / "run" / "pygun").mkdir(parents=True)
    plan = Uninstall(Options("wrong", base_dir=str(tmp_path), conf_dir=str(tmp_path), tools_dir=str(tmp_path)))
    places = AppPlaces(
        "wrong", str(tmp_path / "wrong"), str(tmp_path), str(tmp_path / "log"), str(tmp_path / "run" / "wrong")
    )
    assert [thing.kind for thing in standing(places.things(data=False))] == ["system"]
    plan._apps = lambda: [places]
    assert not plan._plan()


FULL = """[program:a]
command={root}/current/venv/bin/python -I {root}/current/lib/pygun_runtime/launch.py
stdout_logfile={log}/%(program_name)s-%(process_num)d.log
"""


def test_a_run_that_was_killed_anywhere_is_finished_by_the_next(tmp_path, app, monkeypatch):
    monkeypatch.setattr(host_places, "ETC", str(tmp_path / "etc"))
    monkeypatch.setattr(host_places, "LOGROTATE_DIR", str(tmp_path / "etc" / "logrotate.d"))

    def install():
        for folder in ("etc/logrotate.d", "conf/conf.d", "log", "srv/a/releases/0", "srv/a/shared"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name in ("etc/a.env", "log/a-0.log", "log/a-1.raw.log", "srv/a/state.json", "srv/a/activation.lock"):
            (tmp_path / name).write_text("")
        (tmp_path / "etc/logrotate.d/a.conf").write_text(f'"{app.log_dir}/a-[0-9].log" {{\n')
        (tmp_path / "conf/conf.d/a.conf").write_text(FULL.format(root=app.root, log=app.log_dir))
        if not (tmp_path / "srv/a/current").is_symlink():
            (tmp_path / "srv/a/current").symlink_to("releases/0")

    reached, things = 0, [Thing(app.root)]
    while reached < len(things):
        install()
        things = standing(app.things(data=True))
        for thing in things[:reached]:
            thing.remove()
        options = Options(name="a", data=True, base_dir=str(tmp_path / "srv"), conf_dir=app.conf_dir)
        assert Uninstall(options).predict()["changed"]
        assert Uninstall(options).run()["changed"], things[reached]
        assert [thing.path for thing in standing(app.things(data=True))] == [app.log_dir], things[reached]
        assert not Uninstall(options).run()["changed"]
        reached += 1
    assert reached > 8
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [
        "a-0.logs",
        "a-b-0.log",
        "a-b.job-x.log",
        "notes",
    ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "Name the app"),
        ({"name": "../etc"}, "is no name of an app"),
        ({"name": "a", "everything": True}, "both are asked for"),
        ({"everything": True, "apps": ("other",)}, "uninstall_apps=a "),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, app, asked, words):
    options = Options(base_dir=str(tmp_path / "srv"), conf_dir=app.conf_dir, **asked)
    for action in (Uninstall(options).run, Uninstall(options).predict):
        with pytest.raises(UninstallError, match=words) as refused:
            action()
        assert "Nothing was changed." in str(refused.value)


def test_programs_that_the_collection_did_not_write_are_not_stopped(tmp_path, app):
    (tmp_path / "conf" / "conf.d" / "mine.conf").write_text("[program:mine]\ncommand=/bin/true\n")
    declared = "; Written by pygun.stack.programs for supervisor: changes here are overwritten.\n[program:x]\ncommand=/bin/true\n"
    (tmp_path / "conf" / "conf.d" / "declared.conf").write_text(declared)
    options = Options(everything=True, apps=("a",), base_dir=str(tmp_path / "srv"), conf_dir=app.conf_dir)
    with pytest.raises(UninstallError, match=r"write them: \S+/mine\.conf\. Move"):
        Uninstall(options).predict()


def test_logs_of_declared_programs_go_however_their_names_are_written(tmp_path):
    conf = tmp_path / "conf" / "conf.d"
    conf.mkdir(parents=True)
    log = tmp_path / "log"
    log.mkdir()
    for name in ("w.log", "w.log.3", "v-00.out", "v-11.out", "mine.log", "w.log.old", "supervisord.log.1"):
        (log / name).write_text("")
    (tmp_path / "conf" / "supervisord.conf").write_text(f"[supervisord]\nlogfile={log}/supervisord.log\n")
    (conf / "w.conf").write_text(
        "; Written by pygun.stack.programs for supervisor: changes here are overwritten.\n"
        f"[program:w]\nstdout_logfile={log}/%(program_name)s.log\n"
        f"[program:v]\nstdout_logfile={log}/v-%(process_num)02d.out\nstderr_logfile=NONE\n"
    )
    options = Options(everything=True, base_dir=str(tmp_path / "srv"), conf_dir=str(tmp_path / "conf"))
    plan = Uninstall(options).predict()
    gone = {line.rpartition("/")[2] for line in plan["removed"] if line.startswith(str(log))}
    assert gone == {"w.log", "w.log.3", "v-00.out", "v-11.out", "supervisord.log.1"}
    assert {f"{log}/mine.log", f"{log}/w.log.old"} <= set(plan["left"])


def test_folders_on_the_way_to_the_logs_go_if_nothing_else_is_in_them(tmp_path, app, monkeypatch):
    monkeypatch.setattr(host_places, "LOGS", str(tmp_path))
    (tmp_path / "services" / "apps" / "a").mkdir(parents=True)
    (tmp_path / "services" / "of-others").write_text("")
    places = AppPlaces("a", app.root, app.conf_dir, str(tmp_path / "services" / "apps" / "a"), app.run_dir)
    plan = Plan()
    plan.add(places.things(data=True))
    assert f"{tmp_path}/services/apps/" in plan.lines()
    assert f"{tmp_path}/services/" not in plan.lines()
    assert f"{tmp_path}/services/of-others" not in plan.left
    monkeypatch.setattr(host_places, "LOGS", str(tmp_path / "services" / "apps"))
    assert f"{tmp_path}/services/apps" not in [thing.path for thing in places.things(data=True)]


# -- the balancer ----------------------------------------------------------------------------------------------------

OURS = "global\n    stats socket {socket} mode 600 level admin\n    server-state-file {state}\n"


@pytest.fixture(name="balancer")
def balancer_fixture(tmp_path, monkeypatch):
    """A host as the role leaves it, with a certificate of ours and one of somebody else."""
    monkeypatch.setattr(footprint, "UNITS", str(tmp_path / "units"))
    haproxy, lib, units = tmp_path / "haproxy", tmp_path / "lib", tmp_path / "units" / "haproxy.service.d"
    for folder in (haproxy / "certs", lib, units):
        folder.mkdir(parents=True)
    (haproxy / "haproxy.cfg").write_text(OURS.format(state=tmp_path / "state", socket=tmp_path / "admin.sock"))
    (haproxy / "haproxy.cfg.before-pygun").write_text("of the package\n")
    (lib / "certificates").write_text("ours.pem\nformer.pem\n../../units\n")
    names = ("haproxy/certs/ours.pem", "haproxy/certs/theirs.pem", "lib/keep_server_state.py", "state", "admin.sock")
    for name in (*names, "units/haproxy.service.d/pygun.conf"):
        (tmp_path / name).write_text("")
    return BalancerPlaces(str(haproxy), str(lib), str(tmp_path / "state"))


def remains(tmp_path):
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir())


def test_the_configuration_of_before_comes_back_and_what_is_not_ours_stays(tmp_path, balancer):
    plan = Plan()
    plan.add(balancer.things())
    assert f"{tmp_path}/haproxy/haproxy.cfg (as it was before comes back)" in plan.lines()
    assert plan.left == [f"{tmp_path}/haproxy/certs/theirs.pem"]
    for thing in standing(balancer.things()):
        thing.remove()
    assert remains(tmp_path) == ["haproxy/certs/theirs.pem", "haproxy/haproxy.cfg"]
    assert (tmp_path / "haproxy" / "haproxy.cfg").read_text() == "of the package\n"
    assert standing(balancer.things()) == []


def test_what_was_not_put_aside_is_no_reason_to_keep_our_configuration(tmp_path, balancer):
    (tmp_path / "haproxy" / "haproxy.cfg.before-pygun").unlink()
    for thing in standing(balancer.things()):
        thing.remove()
    assert remains(tmp_path) == ["haproxy/certs/theirs.pem"]


def test_a_configuration_that_somebody_wrote_since_is_theirs(tmp_path, balancer):
    (tmp_path / "haproxy" / "haproxy.cfg").write_text("of a person\n")
    for thing in standing(balancer.things()):
        thing.remove()
    assert "haproxy/haproxy.cfg.before-pygun" not in remains(tmp_path)
    assert (tmp_path / "haproxy" / "haproxy.cfg").read_text() == "of a person\n"


def test_a_removal_of_the_balancer_that_was_killed_anywhere_is_finished_by_the_next(tmp_path, balancer):
    """What the folders hold tells how far it is: until the last thing is gone there is something to go."""
    count = len(standing(balancer.things()))
    for done in range(1, count):
        standing(balancer.things())[0].remove()
        assert standing(balancer.things()), done
    assert (tmp_path / "haproxy" / "haproxy.cfg").read_text() == "of the package\n"


def test_a_host_that_is_no_balancer_has_nothing_of_one(tmp_path):
    (tmp_path / "haproxy").mkdir()
    (tmp_path / "haproxy" / "haproxy.cfg").write_text("of a person\n")
    places = BalancerPlaces(str(tmp_path / "haproxy"), str(tmp_path / "lib"), str(tmp_path / "state"))
    assert standing(places.things()) == []


def test_what_stood_in_the_place_of_supervisor_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(footprint, "UNITS", str(tmp_path))
    (tmp_path / "conf" / "conf.d").mkdir(parents=True)
    places = footprint.HostPlaces(str(tmp_path / "conf"), "/no/log", "/opt/pygun", "/no/cache", str(tmp_path / "ctl"))
    theirs = ["conf/conf.d/x.ini", "conf/supervisord.conf", "ctl", "supervisord.service"]
    for name in theirs:
        (tmp_path / f"{name}.before-pygun").write_text("theirs")
    (tmp_path / "ctl").symlink_to("/opt/pygun/supervisor/bin/supervisorctl")
    (tmp_path / "conf" / "supervisord.conf").write_text(others._OUR_CONFIGURATION)
    ours = "ExecStart=/p -I /opt/pygun/supervisord.py /opt/pygun/supervisor/bin/supervisord -n\n"
    (tmp_path / "supervisord.service").write_text(ours)
    assert places.units() == ["supervisord.service"]
    plan = Plan()
    plan.add(places.things())
    assert sum("(as it was before comes back)" in line for line in plan.lines()) == 4
    assert plan.left == [str(tmp_path / name) for name in ("conf/conf.d", *theirs[:2])]
    for thing in standing(places.things()):
        thing.remove()
    for name in theirs:
        assert (tmp_path / name).read_text() == "theirs"
    again = Plan()
    again.add(places.things())
    assert (again.lines(), places.units()) == ([], []), "what came back is not ours"


def test_only_packages_that_the_host_has_are_named(monkeypatch):
    told = "dpkg-query: no packages found matching python3-venv\nhaproxy installed\nlogrotate config-files"
    monkeypatch.setattr(inspection, "run", lambda command: (1, told))
    assert inspection.installed_packages(footprint.PACKAGES) == ["haproxy"]


def test_the_wheels_of_a_host_are_those_that_stand_there_as_recorded(tmp_path):
    assert wheelhouse.recorded(str(tmp_path)) == {}
    (tmp_path / "one.whl").write_text("")
    (tmp_path / wheelhouse.RECORD).write_text(json.dumps({"one.whl": "file:1", "gone.whl": "file:2"}))
    assert wheelhouse.recorded(str(tmp_path)) == {"one.whl": "file:1"}
