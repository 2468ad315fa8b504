"""Refuses, with the reason, what would run on this machine and can't on a cluster."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path

from pipeline.config import Project
from pipeline.kubeflow import pod, pod_rules
from serving.errors import UserError

__all__ = ["OBJECT_STORES", "check", "is_mounted"]

OBJECT_STORES = ("gs://", "s3://")


def check(project: Project) -> None:
    """Looks at everything that a pod sees otherwise than this machine.

    Raises:
        UserError: the first fault found.
    """
    _check_image(project)
    _check_data_root(project)
    _check_workers(project)
    _check_metadata(project)
    _check_data_path(project)
    _check_push(project)
    _check_schema(project)
    _check_code(project)
    pod_rules.check(project)


def _check_image(project: Project) -> None:
    image = project.config.kubernetes.image
    place = project.place("kubernetes", "image")
    if "@" in image:
        return
    folder, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    if not tag or tag == "latest":
        raise UserError(
            f"{place}: the image {image!r} has {'the tag latest' if tag else 'no tag'}, so two "
            "steps of one run, or a retry, might run different code.",
            expected="a tag that is never moved, such as a version or a commit, or a digest",
            fix=f"build it with a tag (`make image IMAGE={folder}{slash}{name}:0.1.0`) and "
            "name that",
        )


def _check_data_root(project: Project) -> None:
    settings = project.config.kubernetes
    place = project.place("kubernetes", "data_root")
    root = settings.data_root
    if root.startswith(OBJECT_STORES):
        return
    if "://" in root:
        raise UserError(
            f"{place}: {root!r} is a kind of place that the steps can't write to.",
            expected="a mounted path, gs://bucket/prefix or s3://bucket/prefix",
            fix="choose one of these; MinIO and SeaweedFS are s3:// with their own endpoint",
        )
    if not is_mounted(project, root):
        mounts = ", ".join(claim.mount for claim in settings.volumes) or "none"
        raise UserError(
            f"{place}: {root!r} is a path inside the container, gone with the pod.",
            expected=f"a path below a mounted volume (mounted: {mounts}), gs://… or s3://…",
            fix="add a claim under kubernetes.volumes, or correct the path",
        )


def _check_workers(project: Project) -> None:
    """Beam workers on other machines must see the payloads at the same place."""
    config = project.config
    runner, root = config.beam.runner, config.kubernetes.data_root
    if runner == "direct" or root.startswith("gs://"):
        return
    place = project.place("kubernetes", "data_root")
    if runner == "dataflow":
        raise UserError(
            f"{place}: {root!r} can't be seen by the workers of beam.runner: dataflow.",
            expected="gs://bucket/prefix",
            fix="put the data root into Google Cloud Storage, or use beam.runner: direct",
        )
    if root.startswith("s3://"):
        raise UserError(
            f"{place}: with s3:// each step works on local copies, which the workers of "
            f"beam.runner: {runner} can't see.",
            expected="gs://bucket/prefix, or a volume that the workers mount as well",
            fix="use such a data root, or beam.runner: direct",
        )
    if not config.kubernetes.workers_see_data_root:
        raise UserError(
            f"{place}: the workers of beam.runner: {runner} run in pods of their own, which "
            f"don't have {root!r} unless they mount the same volume.",
            expected="workers with the data root at the same path",
            fix="mount the claim in the workers' pod template and set "
            "kubernetes.workers_see_data_root: true",
        )


def _check_metadata(project: Project) -> None:
    store = project.config.kubernetes.metadata
    if store.url is None:
        return
    place = project.place("kubernetes", "metadata", "url")
    scheme, _, rest = store.url.partition("://")
    if scheme not in ("sqlite", "postgresql", "postgres", "mysql"):
        raise UserError(
            f"{place}: {store.url!r} is no metadata store.",
            expected="postgresql://host/database, mysql://host/database or sqlite:////path",
            fix="correct the URL",
        )
    if scheme == "sqlite" and not is_mounted(project, "/" + rest.lstrip("/")):
        raise UserError(
            f"{place}: {store.url!r} is a file inside the container, gone with the pod.",
            expected="a file below a mounted volume",
            fix="correct the path, or use PostgreSQL",
        )


def _check_data_path(project: Project) -> None:
    key = ("kubernetes", "data_path") if project.config.kubernetes.data_path else ("data", "path")
    path = project.config.kubernetes.data_path or project.config.data.path
    if path.startswith(("package://", *OBJECT_STORES, "hdfs://")) or is_mounted(project, path):
        return
    mounts = [claim.mount for claim in project.config.kubernetes.volumes]
    where = f"copy the data to {mounts[0]} or a bucket" if mounts else "copy the data to a bucket"
    raise UserError(
        f"{project.place(*key)}: {path!r} is on this machine, where the pods can't read it.",
        expected="gs://…, s3://…, package://…, or a path below a mounted volume",
        fix=f"{where} and say where they are there: kubernetes.data_path",
    )


def _check_push(project: Project) -> None:
    directory = project.config.push.directory
    if directory is None or directory.startswith(OBJECT_STORES):
        return
    if not is_mounted(project, directory):
        raise UserError(
            f"{project.place('push', 'directory')}: {directory!r} is inside the container, where "
            "no model server sees it.",
            expected="gs://…, s3://…, or a path below a mounted volume",
            fix="correct it, or leave it out to push below the data root",
        )


def _check_schema(project: Project) -> None:
    written = project.config.schema_file
    if written is None or "://" in written or is_mounted(project, written):
        return
    file = Path(project.path(written))
    if not file.resolve().is_relative_to(project.folder):
        raise UserError(
            f"{project.place('schema')}: {written!r} is outside of the project's folder, so the "
            "image doesn't have it.",
            expected=f"a file below {project.folder}",
            fix="move the schema there",
        )


def _check_code(project: Project) -> None:
    """The user's modules come from the project's folder or an installed package."""
    for key in ("preprocessing_fn", "run_fn"):
        path = getattr(project.config, key)
        if path is None:
            continue
        top = path.partition(".")[0]
        folder = project.folder
        if (folder / top).is_dir() or (folder / f"{top}.py").is_file():
            continue
        spec = importlib.util.find_spec(top)
        installed = Path(sysconfig.get_path("purelib")).resolve()
        ours = Path(__file__).resolve().parents[2]
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin and (origin.is_relative_to(installed) or origin.is_relative_to(ours)):
            continue
        found = f"comes from {origin}" if origin else "is not found"
        raise UserError(
            f"{project.place(key)}: the module {top!r} {found}, which the image doesn't have.",
            expected=f"a module below {folder}, or a package that the image installs",
            fix=f"move it to {folder / top}, or install it as a package",
        )


def is_mounted(project: Project, path: str) -> bool:
    """Whether a path lies below one of the claims."""
    if not path.startswith("/"):
        return False
    target = Path(pod.plain_path(path))
    return any(
        target.is_relative_to(pod.plain_path(claim.mount))
        for claim in project.config.kubernetes.volumes
    )
