"""TFX's metadata handle, with patience for a database that is away for a while.

A database restarts, fails over or is upgraded while a step of an hour runs. TFX opens a
connection for each phase of a step and gives up after ten quick tries; a step whose work is done
would fail for want of ten seconds. Here a phase waits for the database, and reads inside a phase
are asked again. Writes are not repeated: whether a write whose connection broke was carried out
can't be known.

MLMD hides why a connection failed, so the reason is asked of the database's own client.

On PostgreSQL, MLMD 1.21 makes broken SQL of any text with a backslash, which every JSON text with
a quotation mark inside has: PQescapeLiteral answers ` E'…'` for it, and MLMD cuts off one
character at either end. So backslashes are stored as a character of the private use area.
Source: ml_metadata/metadata_store/postgresql_metadata_source.cc, EscapeString.
"""

from __future__ import annotations

import logging
import os
import re
import time
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from ml_metadata import MetadataStore, errors
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.orchestration import metadata

from serving.errors import UserError

__all__ = ["PATIENCE", "MetadataHandle", "connected", "patience_s", "replace_texts"]

PATIENCE = "KUBETFX_METADATA_PATIENCE_S"
"""Environment variable: how long to wait for the database. Unit: seconds."""

_DEFAULT_PATIENCE_S = 300.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0
_REPEATABLE = re.compile(r"Get|Put\w*Types?$")

_BACKSLASH, _STORED_AS = "\\", "\ue05c"

_log = logging.getLogger(__name__)


class MetadataHandle(metadata.Metadata):
    """Opens the metadata store, waiting for it if need be."""

    def __enter__(self) -> MetadataHandle:
        """Connects.

        Raises:
            UserError: the database refuses the credentials, lacks the database, or stays away
                longer than the patience lasts.
        """
        self._store = _connected(self.connection_config, time.monotonic() + patience_s())
        self._users += 1
        return self


class _PatientStore(MetadataStore):
    """A store that connects anew when a read finds the connection broken."""

    _metadata_store: Any

    def _call(
        self, method_name: str, request: Any, response: Any, extra_options: Any = None
    ) -> Any:
        if self._config.WhichOneof("config") != "postgresql":
            return super()._call(method_name, request, response, extra_options)
        sent = type(request)()
        sent.CopyFrom(request)
        replace_texts(sent, _BACKSLASH, _STORED_AS)
        try:
            result = super()._call(method_name, sent, response, extra_options)
        except errors.InternalError as error:
            if not _REPEATABLE.match(method_name) or not _is_lost(error):
                raise
            _log.warning("the metadata store's connection broke; connecting again")
            deadline = time.monotonic() + patience_s()
            self._metadata_store = _connected(self._config, deadline)._metadata_store
            result = super()._call(method_name, sent, response, extra_options)
        replace_texts(response, _STORED_AS, _BACKSLASH)
        return result

    def get_artifacts_by_id(self, artifact_ids: Any, *args: Any, **kwargs: Any) -> Any:
        """Reads artifacts in the order of their ids as they were asked for.

        TFX lays the answer beside the list that it asked with (`cache_utils`,
        `_get_outputs_of_execution`). SQLite happens to keep that order; PostgreSQL does not, and a
        cached step's outputs would be recorded under each other's names.
        """
        wanted = list(artifact_ids)
        order = {number: place for place, number in enumerate(wanted)}
        found = super().get_artifacts_by_id(wanted, *args, **kwargs)
        if isinstance(found, tuple):
            return found
        return sorted(found, key=lambda artifact: order[artifact.id])


def replace_texts(message: Message, old: str, new: str) -> None:
    """Replaces a character in all texts of a message, keys of maps left out."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in value:
                if isinstance(value[key], Message):
                    replace_texts(value[key], old, new)
                elif isinstance(value[key], str) and old in value[key]:
                    value[key] = value[key].replace(old, new)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in [value] if isinstance(value, Message) else value:
                replace_texts(each, old, new)
        elif field.type == FieldDescriptor.TYPE_STRING:
            if isinstance(value, str):
                if old in value:
                    setattr(message, field.name, value.replace(old, new))
            else:
                value[:] = [text.replace(old, new) for text in value]


def patience_s() -> float:
    """How long a database may stay away. Unit: seconds."""
    return float(os.environ.get(PATIENCE, _DEFAULT_PATIENCE_S))


def connected(config: mlmd.ConnectionConfig, patience_s: float) -> MetadataStore:
    """Opens a metadata store to read from.

    Args:
        config: where it is.
        patience_s: how long it may stay away. Unit: seconds.

    Raises:
        UserError: it refuses the credentials, lacks the database, or stays away.
    """
    return _connected(config, time.monotonic() + patience_s)


def _connected(config: mlmd.ConnectionConfig, deadline: float) -> _PatientStore:
    wait_s = _FIRST_WAIT_S
    while True:
        try:
            store = _PatientStore(config)
        except (RuntimeError, errors.StatusError) as error:
            reason, lasting = _reason(config, error)
            if lasting or time.monotonic() + wait_s > deadline:
                raise _unreachable(config, reason, lasting=lasting) from error
            _log.warning("the metadata store can't be reached (%s); trying again", reason)
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        else:
            return store


def _is_lost(error: errors.InternalError) -> bool:
    return "metadata source error" in str(error)


def _reason(config: mlmd.ConnectionConfig, error: Exception) -> tuple[str, bool]:
    """Why a connection failed, and whether waiting is of no use."""
    if config.WhichOneof("config") != "postgresql":
        # A file does not come back by waiting; a lock is let go, a MySQL server may return.
        text = str(error).strip()
        return text, config.WhichOneof("config") == "sqlite" and "locked" not in text
    import psycopg

    server = config.postgresql
    options = {
        name: value
        for name in ("sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert")
        if (value := getattr(server.ssloption, name))
    }
    try:
        with psycopg.connect(
            host=server.host,
            port=int(server.port),
            user=server.user,
            password=server.password,
            dbname=server.dbname,
            connect_timeout=5,
            **options,
        ):
            return "it answers again", False
    except psycopg.OperationalError as refusal:
        text = " ".join(str(refusal).split())
        lasting = re.search(
            r"authentication failed|does not exist|no pg_hba.conf entry|no password supplied", text
        )
        return text, lasting is not None


def _unreachable(config: mlmd.ConnectionConfig, reason: str, *, lasting: bool) -> UserError:
    if config.WhichOneof("config") == "sqlite":
        return UserError(
            f"the metadata store {config.sqlite.filename_uri} can't be opened: {reason}.",
            expected="an SQLite file in a folder that this user may write",
            fix="mend the folder's permissions or choose another place",
        )
    server = config.postgresql if config.HasField("postgresql") else config.mysql
    name = server.dbname if config.HasField("postgresql") else server.database
    place = f"{server.host}:{server.port}/{name}"
    if lasting:
        return UserError(
            f"the metadata store {place} refuses user {server.user!r}: {reason}",
            expected="a user with a password that the database accepts",
            fix="mend the URL in the secret that holds it, then retry the run",
        )
    return UserError(
        f"the metadata store {place} can't be reached for {patience_s():.0f} s: {reason}",
        expected="a database that answers",
        fix="start it, then retry the run: finished steps are kept",
    )
