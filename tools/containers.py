"""Container hosts: Debian with systemd as PID 1, for the demo and for Molecule.

The host's tools decide how: podman or docker, an image from a registry or from the distribution's packages.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tools import environment
from tools.shell import CACHE, ROOT, Failed, install, output, run, say, succeeds

INIT = ROOT / "molecule" / "shared" / "init.sh"
CONTAINERFILE = ROOT / "molecule" / "shared" / "Containerfile"
PACKAGES = ROOT / "molecule" / "shared" / "packages.txt"

# Where the machine's CA bundle is seen inside. Not the distribution's own place: a role must find it by its variable.
CA_BUNDLE = "/usr/local/share/pygun-host/ca-bundle.pem"

# systemd's sandboxing (ProtectSystem and its kind) works only with these; without them it is silently left out.
SYSTEMD_OPTIONS = (
    "--cap-add=SYS_ADMIN",
    "--cgroupns=private",
    "--security-opt=apparmor=unconfined",
    "--stop-signal=SIGRTMIN+3",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--tmpfs=/tmp",
)


def prefix() -> str:
    """Begins the name of every container and network; another one lets two runs live side by side."""
    return os.environ.get("PYGUN_PREFIX") or "pygun"


@dataclass(frozen=True)
class Host:
    """One container. `snapshot` names a saved host to start from; where there is none, it starts from the plain image."""

    name: str
    network: str
    suite: str = field(default_factory=lambda: os.environ.get("PYGUN_SUITE") or "bookworm")
    snapshot: str = ""
    publish: tuple[str, ...] = ()
    options: tuple[str, ...] = field(default=())

    @classmethod
    def from_dict(cls, values: dict) -> Host:
        unknown = values.keys() - cls.__dataclass_fields__.keys()
        if unknown:
            raise Failed(f"A container host has no setting {', '.join(sorted(unknown))}.")
        lists = {key: tuple(value or ()) for key, value in values.items() if key in ("publish", "options")}
        return cls(**{**values, **lists, "snapshot": values.get("snapshot") or ""})


# --- the engine ---------------------------------------------------------------------------------------------------


@cache
def engine() -> str:
    """podman or docker, whichever works here; podman is installed where there is neither. Sets what they run with."""
    wanted = os.environ.get("CONTAINER_ENGINE")
    found = remember_engine()
    if found:
        return found
    if wanted:
        raise Failed(f"CONTAINER_ENGINE={wanted}, but `{wanted} info` fails here.")
    install(
        ["podman", "runc", "crun", "netavark", "aardvark-dns", "iptables", "nftables", "uidmap", "iproute2"],
        "there is no container engine that works",
    )
    if not succeeds("podman", "info", timeout=60):
        raise Failed("podman was installed but does not work: see `podman info`.")
    os.environ["CONTAINER_ENGINE"] = "podman"
    return "podman"


def remember_engine() -> str | None:
    """The engine that works here, put where the connection program looks; None if there is none."""
    write_containers_conf()
    wanted = os.environ.get("CONTAINER_ENGINE")
    for candidate in [wanted] if wanted else ["podman", "docker"]:
        if shutil.which(candidate) and succeeds(candidate, "info", timeout=60):
            os.environ["CONTAINER_ENGINE"] = candidate
            return candidate
    return None


def needs_root() -> bool:
    """A docker that lets this user in needs none; podman does (systemd's sandboxing inside needs real capabilities)."""
    return os.geteuid() != 0 and not (shutil.which("docker") and succeeds("docker", "info", timeout=60))


def write_containers_conf() -> None:
    """Two kinds of machine on which podman's defaults start no container at all."""
    lines = []
    if not may_raise_limits():
        import resource

        files = min(20000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        # podman lowers its own limit of processes to this before it starts a container.
        processes = min(32768, resource.getrlimit(resource.RLIMIT_NPROC)[1] % 2**31)
        lines += ["[containers]", f'default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]']
    os.environ.setdefault("PODMAN_IGNORE_CGROUPSV1_WARNING", "1")
    if Path("/sys/fs/cgroup/unified").is_dir():  # crun refuses a host with both kinds of cgroups
        lines += ["[engine]", 'runtime = "runc"']
    if lines and "CONTAINERS_CONF" not in os.environ:
        conf = CACHE / "containers.conf"
        CACHE.mkdir(exist_ok=True)
        conf.write_text("\n".join(lines) + "\n")
        os.environ["CONTAINERS_CONF"] = str(conf)


def may_raise_limits() -> bool:
    """Whether this machine's root has CAP_SYS_RESOURCE (bit 24), which raising a limit takes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> 24 & 1)
    return True


# --- images -------------------------------------------------------------------------------------------------------


def image(suite: str) -> str:
    """The base image of a suite, built when there is none of this recipe yet."""
    recipe = hashlib.sha256(PACKAGES.read_bytes() + CONTAINERFILE.read_bytes()).hexdigest()[:12]
    name = f"localhost/pygun-{suite}:{recipe}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"image-{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # scenarios that begin together need the same one
        if not succeeds(engine(), "image", "inspect", name):
            started = time.monotonic()
            how = build_from_registry(suite, name) or build_from_packages(suite, name)
            say(f"Built the {suite} image from {how} in {time.monotonic() - started:.0f} s.")
    return name


def build_from_registry(suite: str, name: str) -> str | None:
    """On the distribution's public image, if a registry is in reach."""
    public = f"debian:{suite}-slim"
    say(f"Looking for {public} in a registry.")
    if not succeeds(engine(), "pull", "--quiet", public, timeout=int(os.environ.get("PYGUN_PULL_TIMEOUT", "60"))):
        return None
    with tempfile.TemporaryDirectory() as context:
        shutil.copy(PACKAGES, context)
        run(
            engine(), "build", "--quiet", "--tag", name, "--build-arg", f"BASE={public}", "--file", CONTAINERFILE, context,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return public


def build_from_packages(suite: str, name: str) -> str:
    """Without a registry: from the distribution's packages, the same set."""
    say(f"No registry in reach: building the {suite} image from Debian's packages.")
    if not shutil.which("mmdebstrap"):
        install(["mmdebstrap", "debian-archive-keyring"], "no container registry is in reach")
    mirror = [os.environ["PYGUN_DEBIAN_MIRROR"]] if os.environ.get("PYGUN_DEBIAN_MIRROR") else []
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        Path(folder).chmod(0o755)
        tree = Path(folder) / "image.tar"
        # The package lists stay in: without them `cache_valid_time` takes a new image for an updated one.
        run(
            "mmdebstrap", "--quiet", "--variant=minbase", "--skip=cleanup/apt/lists", f"--include={','.join(packages())}",
            suite, tree, *mirror, capture_output=True, text=True,
        )  # fmt: skip
        run(engine(), "import", tree, name, capture_output=True, text=True)
    return "Debian's packages"


def packages() -> list[str]:
    lines = [line.partition("#")[0].strip() for line in PACKAGES.read_text().splitlines()]
    return [line for line in lines if line]


def snapshot_image(name: str) -> str:
    return f"localhost/{prefix()}-snapshot:{name}"


def save(container: str, snapshot: str) -> None:
    """Keep a host's disk as an image that other hosts can start from."""
    say(f"Saving {container} as snapshot {snapshot}.")
    run(
        engine(),
        "commit",
        "--pause=false" if engine() == "docker" else "--pause",
        container,
        snapshot_image(snapshot),
        stdout=subprocess.DEVNULL,
    )


# --- hosts --------------------------------------------------------------------------------------------------------


def up(hosts: list[Host], keep: bool = False) -> bool:
    """Start hosts and wait until systemd says that they run. `keep` leaves those alone that run as asked already.

    Returns whether anything was started.
    """
    with ThreadPoolExecutor() as pool:
        suites = sorted({host.suite for host in hosts})
        images = dict(zip(suites, pool.map(image, suites), strict=True))
        for network in {host.network for host in hosts}:
            if not succeeds(engine(), "network", "inspect", network):
                run(engine(), "network", "create", network, stdout=subprocess.DEVNULL)
        return any(list(pool.map(lambda host: start(host, images[host.suite], keep), hosts)))


def start(host: Host, base: str, keep: bool) -> bool:
    chosen = base
    if host.snapshot and succeeds(engine(), "image", "inspect", snapshot_image(host.snapshot)):
        chosen = snapshot_image(host.snapshot)
    arguments = ["--hostname", host.name, "--network", host.network, *SYSTEMD_OPTIONS, *host.options]
    arguments += [part for published in host.publish for part in ("--publish", published)]
    bundle = environment.host_ca_bundle()
    if bundle:
        arguments += ["--volume", f"{os.path.realpath(bundle)}:{CA_BUNDLE}:ro"]
    command = [chosen, "sh", "-c", INIT.read_text()]
    identity = hashlib.sha256(json.dumps([arguments, command]).encode()).hexdigest()[:16]
    labels = [
        "--label",
        f"pygun.made-from={identity}",
        "--label",
        f"pygun.checkout={ROOT}",
        "--label",
        f"pygun.network={host.network}",
    ]
    state = inspect(host.name)
    if state and keep and label(state, "made-from") == identity:
        if state["State"]["Running"]:
            return False
        run(engine(), "start", host.name, stdout=subprocess.DEVNULL)
    else:
        if state:
            refuse_strangers(host.name, state)
            down([host.name])
        say(f"Starting {host.name} ({chosen.removeprefix('localhost/')}).")
        run(engine(), "run", "--detach", "--name", host.name, *labels, *arguments, *command, stdout=subprocess.DEVNULL)
    wait([host.name])
    return True


def inspect(name: str) -> dict | None:
    if not succeeds(engine(), "container", "inspect", name):
        return None
    return json.loads(output(engine(), "container", "inspect", name))[0]


def label(state: dict, name: str) -> str | None:
    return (state["Config"].get("Labels") or {}).get(f"pygun.{name}")


def refuse_strangers(name: str, state: dict) -> None:
    """Do not take away a running container of another checkout of this project, nor one we did not make."""
    owner = label(state, "checkout")
    if (
        owner == str(ROOT)
        or (owner and not (Path(owner) / "dev").exists())
        or (owner and not state["State"]["Running"])
    ):
        return
    raise Failed(
        f"A container {name} is there already, {f'of the checkout {owner}' if owner else 'and it is not ours'}. "
        "Nothing was changed. Remove it, or set PYGUN_PREFIX to another word than pygun."
    )


def wait(names: list[str], seconds: float = 120) -> None:
    """Until systemd has booted: package managers fail on a half-booted host."""
    for name in names:
        deadline = time.monotonic() + seconds
        while True:
            done = subprocess.run(
                [engine(), "exec", name, "systemctl", "is-system-running"], capture_output=True, text=True, check=False
            )
            state = done.stdout.strip()
            if state == "running":
                break
            if state == "degraded":
                failed = output(engine(), "exec", name, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
                say(f"{name} has booted with failed units:\n{failed}")
                break
            if time.monotonic() > deadline:
                raise Failed(
                    f"{name} did not boot within {seconds:.0f} s: {state or done.stderr.strip()}. See `{engine()} logs {name}`."
                )
            time.sleep(0.2)


def restart(names: list[str]) -> None:
    """What a reboot is to a container: every process stops, /run and /tmp are empty again."""
    for name in names:
        run(engine(), "restart", "--time", "60", name, stdout=subprocess.DEVNULL)
    wait(names)


def down(names: list[str]) -> None:
    """Remove hosts, and the networks that nothing else is in then."""
    for name in names:
        state = inspect(name)
        if not state:
            continue
        # Killed first: to stop a systemd nicely takes long, and podman's `rm --force` may trip over one that just stops.
        succeeds(engine(), "kill", name)
        succeeds(engine(), "wait", name, timeout=30)
        run(engine(), "rm", "--force", "--volumes", name, stdout=subprocess.DEVNULL)
        network = label(state, "network")
        if network:
            succeeds(engine(), "network", "rm", network)


def remove_everything() -> None:
    """What this checkout has left: hosts and their networks, then our images."""
    down(output(engine(), "ps", "--all", "--filter", f"label=pygun.checkout={ROOT}", "--format", "{{.Names}}").split())
    images = output(engine(), "images", "--format", "{{.Repository}}:{{.Tag}}").split()
    for name in images:
        if name.startswith(("localhost/pygun-", f"localhost/{prefix()}-snapshot:")):
            succeeds(engine(), "rmi", name)
