"""Where runs are looked up: folders on this machine, or the database that a cluster writes to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.launching import lean_imports
from serving.errors import UserError

if TYPE_CHECKING:
    from ml_metadata import MetadataStore

    from pipeline.config import Project

__all__ = ["METADATA_URL", "OUTPUTS", "STORE_FILE", "RunSource", "url_of"]

METADATA_URL = "KUBETFX_METADATA_URL"
"""Environment variable: where the metadata store is, the same as in the cluster's pods."""

OUTPUTS = Path("outputs")
STORE_FILE = "metadata.sqlite"
"""The metadata store in an output folder."""

_PATIENCE_S = 10.0
"""How long a person waits for a database that does not answer."""


@dataclass(frozen=True)
class RunSource:
    """One place, or several folders of one place.

    Attributes:
        folder: an output folder of runs, or one that holds several.
        url: a metadata store; where it is given, the folder is not looked into.
    """

    folder: Path = OUTPUTS
    url: str = ""

    @classmethod
    def chosen(cls, output: Path | None, metadata: str | None, config: Path | None) -> RunSource:
        """Takes what was said, in this order: store, folder, configuration, environment.

        Args:
            output: a folder.
            metadata: a store's URL.
            config: a configuration, whose `kubernetes.metadata` names a store.

        Raises:
            UserError: the configuration's store is in a secret and no one says what that holds.
        """
        if metadata:
            return cls(url=metadata)
        if output is not None:
            return cls(output)
        if config is not None:
            from pipeline.config import read_project

            return cls(url=url_of(read_project(config)))
        return cls(url=os.environ.get(METADATA_URL, ""))

    def stores(self) -> Iterator[tuple[MetadataStore, Path | None]]:
        """Opens the stores, each with the folder of its runs; None on a cluster.

        Raises:
            UserError: the URL is none, or the database does not let in or answer.
        """
        # What reads the artifacts afterwards goes through TFX's file calls.
        lean_imports.install()
        if self.url:
            from pipeline.launching import metadata, metadata_handle
            from pipeline.staging import tfx_plugin

            tfx_plugin.register()
            yield metadata_handle.connected(metadata.connection(self.url), _PATIENCE_S), None
            return
        from ml_metadata import MetadataStore

        from pipeline.launching.metadata import sqlite_connection

        own = self.folder / STORE_FILE
        for file in [own] if own.exists() else sorted(self.folder.glob(f"*/{STORE_FILE}")):
            yield MetadataStore(sqlite_connection(file)), file.parent

    def nothing(self) -> UserError:
        """The error for a place without runs."""
        if self.url:
            from pipeline.launching.metadata import masked

            return UserError(
                f"{masked(self.url)}: no run is recorded in this metadata store.",
                expected="the store that the pipeline's steps write to",
                fix="check the URL; runs of this machine are found with --output",
            )
        return UserError(
            f"{self.folder}: nothing has run here.",
            expected="an output folder of `kubetfx run`, or one that holds several",
            fix="name it with --output, or run a pipeline first: kubetfx run; a cluster's runs are "
            f"found with --metadata URL, or the variable {METADATA_URL}",
        )


def url_of(project: Project) -> str:
    """The metadata store that a configuration names for the cluster.

    Raises:
        UserError: it is in a secret, and the environment does not hold it either.
    """
    store = project.config.kubernetes.metadata
    url = os.environ.get(METADATA_URL, "") or store.url
    if url:
        return url
    raise UserError(
        f"{project.document.file}: kubernetes.metadata keeps the store's URL in the secret "
        f"{store.secret!r}.",
        expected=f"the URL in the variable {METADATA_URL}, or --metadata URL",
        fix=f"kubectl get secret {store.secret} -o jsonpath='{{.data.{store.key}}}' | base64 -d; "
        "the database must be reachable from here (kubectl port-forward)",
    )
