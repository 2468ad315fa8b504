"""From a machine to a table of what would keep kubetfx from working on it.

Every row that is not well carries its remedy. Nothing heavy is imported: versions come from
the packages' metadata, so `kubetfx doctor` answers in about a second even where TensorFlow
itself can't be loaded.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from json import dumps
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.install import glibc_repair, interpreter
from pipeline.install.environment import Environment
from pipeline.install.glibc_repair import MODULES
from pipeline.install.glibc_repair import State as LibraryState
from pipeline.install.lock_file import normalized, read_lock

__all__ = ["Check", "State", "checks", "render", "run"]

MUST_AGREE = (
    "tfx",
    "tensorflow",
    "tensorflow-data-validation",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "tfx-bsl",
    "ml-metadata",
    "protobuf",
    "apache-beam",
    "kfp",
)
"""Graph, saved model and metadata schema are shared between these: one version apart breaks."""

NEWEST_SERVING = "2.20.0"
"""The newest TensorFlow Serving release, assumed where no manifest names an image."""

KFP_ENDPOINT_VARIABLE = "KF_PIPELINES_ENDPOINT"
"""Where the KFP SDK, too, looks for the address of the Pipelines API."""

_ROOT = Path(__file__).resolve().parents[1]
_SET_UP = "make setup"
_GIB = 2**30
_TIMEOUT_S = 3


class State(StrEnum):
    """How a check came out; only `fail` makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One row: what was looked at, what was found, and what to do where it is not well."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def checks(root: Path = _ROOT) -> list[Check]:
    """Looks at this machine and environment; takes a second, and some more with a cluster.

    Args:
        root: the checkout, whose lock file and manifests are compared with.
    """
    return [
        _python(),
        _set_up(root),
        *_libraries(),
        *_versions(root / "requirements" / "lock.txt"),
        _serving(root / "manifests"),
        _disk(Path.cwd()),
        _memory(),
        _cores(),
        _kubernetes(),
        _kfp(),
    ]


def render(rows: list[Check], console: Console) -> None:
    """Prints the rows as a table, the remedy under each row that is not well."""
    styles = {
        State.OK: "green",
        State.WARN: "yellow",
        State.FAIL: "bold red",
        State.SKIPPED: "dim",
    }
    table = Table(title="kubetfx doctor", title_justify="left", expand=False)
    table.add_column("state", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("found", overflow="fold")
    for row in rows:
        found = Text(row.detail)
        if row.remedy:
            found.append(f"\n→ {row.remedy}", style="bold" if row.state is State.FAIL else "")
        table.add_row(Text(row.state, style=styles[row.state]), row.name, found)
    console.print(table)
    counts = ", ".join(
        f"{number} {state}"
        for state in State
        if (number := sum(row.state is state for row in rows))
    )
    console.print(counts)


def run(json: bool = False) -> int:
    """Checks and prints; returns 1 when something fails, else 0.

    Args:
        json: print one JSON document instead of a table.
    """
    rows = checks()
    well = not any(row.state is State.FAIL for row in rows)
    if json:
        print(dumps({"ok": well, "checks": [asdict(row) for row in rows]}, indent=2))
    else:
        render(rows, Console())
    return 0 if well else 1


def _python() -> Check:
    detail = f"{platform.python_version()} at {sys.executable}"
    if interpreter.is_supported():
        return Check("Python", State.OK, detail)
    return Check("Python", State.FAIL, detail, "use Python 3.11, 3.12 or 3.13")


def _set_up(root: Path) -> Check:
    environment = Environment(root, Path(sys.prefix))
    if not environment.lock.is_file():
        return Check("set-up", State.SKIPPED, f"{root} is no checkout with a lock file")
    if environment.is_ready():
        return Check("set-up", State.OK, f"complete in {sys.prefix}")
    return Check(
        "set-up",
        State.WARN,
        f"{sys.prefix} was not made, or not completely, from this lock",
        _SET_UP,
    )


def _libraries() -> Iterator[Check]:
    glibc = glibc_repair.host_glibc()
    if glibc is None:
        yield Check("glibc", State.SKIPPED, f"{platform.system()} has none")
        return
    needed = glibc_repair.is_needed(glibc)
    effect = "older than 2.39, the repair is needed" if needed else "no repair is needed"
    yield Check("glibc", State.OK, f"{glibc[0]}.{glibc[1]}: {effect}")
    site = Path(sysconfig.get_path("platlib"))
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wanted = LibraryState.REPAIRED if needed else LibraryState.PUBLISHED
    for module in MODULES:
        state = glibc_repair.state_of(module, site, tag)
        name = f"{module.distribution} library"
        if state is wanted or (state is LibraryState.REPAIRED and not needed):
            yield Check(name, State.OK, state.value)
        elif state is LibraryState.UNKNOWN:
            fix = f"remove {sys.prefix}, then {_SET_UP}"
            # A build of one's own may well work on a new glibc.
            yield Check(name, State.FAIL if needed else State.WARN, state.value, fix)
        else:
            yield Check(name, State.FAIL, state.value, _SET_UP)


def _versions(lock: Path) -> Iterator[Check]:
    if not lock.is_file():
        yield Check("versions", State.SKIPPED, f"no lock file at {lock}")
        return
    installed = {
        normalized(distribution.name): distribution.version
        for distribution in metadata.distributions()
    }
    locked = {}
    for package in read_lock(lock):
        marker = Requirement(package.text.splitlines()[0].rstrip("\\ ")).marker
        if marker is None or marker.evaluate():
            locked[package.name] = package.version
    for name in MUST_AGREE:
        yield _agreement(name, locked.get(name), installed.get(name))
    others = [name for name in locked if name not in MUST_AGREE]
    apart = [
        f"{name} {installed.get(name, 'missing')} (lock: {locked[name]})"
        for name in others
        if installed.get(name) != locked[name]
    ]
    if apart:
        shown = ", ".join(apart[:5]) + (f" and {len(apart) - 5} more" if len(apart) > 5 else "")
        yield Check("other packages", State.WARN, f"differ from the lock: {shown}", _SET_UP)
    else:
        yield Check("other packages", State.OK, f"{len(others)}, as locked")


def _agreement(name: str, locked: str | None, installed: str | None) -> Check:
    if locked is None:
        return Check(name, State.FAIL, "not in the lock", "make lock")
    if installed is None:
        return Check(name, State.FAIL, f"not installed (lock: {locked})", _SET_UP)
    if installed != locked:
        return Check(name, State.FAIL, f"{installed} (lock: {locked})", _SET_UP)
    return Check(name, State.OK, f"{installed}, as locked")


def _serving(manifests: Path) -> Check:
    name = "TensorFlow Serving"
    try:
        trained = metadata.version("tensorflow")
    except metadata.PackageNotFoundError:
        return Check(name, State.SKIPPED, "TensorFlow is not installed")
    images = {
        found
        for path in sorted(manifests.rglob("*.yaml"))
        for found in re.findall(r"tensorflow/serving:v?(\d+\.\d+[.\d]*)", path.read_text("utf-8"))
    }
    serving = min(images, key=_minor) if images else NEWEST_SERVING
    origin = "in manifests/" if images else "newest release; no manifest names another"
    if _minor(serving) >= _minor(trained):
        return Check(name, State.OK, f"{serving} ({origin}), trained with TensorFlow {trained}")
    return Check(
        name,
        State.WARN,
        f"{serving} ({origin}) is older than the TensorFlow that trains, {trained}",
        "keep infra validation on, and let that image load a pushed version and answer one"
        " request before it is promoted",
    )


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / _GIB
    detail = f"{free:.0f} GiB free at {folder}"
    if free < 1:
        return Check(
            "disk", State.FAIL, detail, "free at least 5 GiB, or run with --output elsewhere"
        )
    if free < 5:
        return Check(
            "disk", State.WARN, detail, "free some: artifacts of a few runs take gigabytes"
        )
    return Check("disk", State.OK, detail)


def _memory() -> Check:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    except (OSError, ValueError):
        return Check("memory", State.SKIPPED, "this system does not tell")
    origin = "in this machine"
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text("ascii")) / _GIB
    except (OSError, ValueError):
        limit = total
    if limit < total:
        total, origin = limit, "allowed to this container"
    detail = f"{total:.1f} GiB {origin}"
    if total < 4:
        return Check("memory", State.WARN, detail, "4 GiB or more; else use fewer rows per run")
    return Check("memory", State.OK, detail)


def _cores() -> Check:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check("cores", State.OK, f"{count}")


def _kubernetes() -> Check:
    beside = Path(sysconfig.get_path("scripts"), "kubectl")
    kubectl = shutil.which("kubectl") or (str(beside) if beside.is_file() else None)
    if kubectl is None:
        return Check("Kubernetes", State.SKIPPED, "no kubectl; only needed for a cluster")
    configured = os.environ.get("KUBECONFIG") or Path.home().joinpath(".kube", "config").is_file()
    if not configured and "KUBERNETES_SERVICE_HOST" not in os.environ:
        return Check("Kubernetes", State.SKIPPED, f"{kubectl}; no cluster is configured")
    try:
        done = subprocess.run(
            [kubectl, "get", "--raw", "/readyz", f"--request-timeout={_TIMEOUT_S}s"],
            capture_output=True,
            text=True,
            timeout=2 * _TIMEOUT_S,
        )
        answer = (done.stdout or done.stderr).strip().splitlines()
        reached = done.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        answer, reached = [str(error)], False
    if reached:
        return Check("Kubernetes", State.OK, "the cluster's API server is ready")
    reason = answer[-1] if answer else "no answer"
    return Check("Kubernetes", State.WARN, reason, "check the context: kubectl config get-contexts")


def _kfp() -> Check:
    endpoint = os.environ.get(KFP_ENDPOINT_VARIABLE)
    if not endpoint:
        return Check("Kubeflow Pipelines", State.SKIPPED, f"{KFP_ENDPOINT_VARIABLE} is not set")
    address = endpoint if "://" in endpoint else f"http://{endpoint}"
    address = f"{address.rstrip('/')}/apis/v2beta1/healthz"
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
            status = int(answer.status)
    except (OSError, ValueError) as error:
        return Check(
            "Kubeflow Pipelines",
            State.WARN,
            f"{address}: {error}",
            f"forward its port (kubectl port-forward -n kubeflow svc/ml-pipeline 8888) and set"
            f" {KFP_ENDPOINT_VARIABLE}=http://127.0.0.1:8888",
        )
    return Check("Kubeflow Pipelines", State.OK, f"{address} answers {status}")
