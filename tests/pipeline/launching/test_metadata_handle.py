"""A real PostgreSQL as metadata store: odd texts, absence, refusal, several at once."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ml_metadata import MetadataStore, errors
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.launching import lean_imports

lean_imports.install()

from pipeline.launching import metadata, metadata_handle  # noqa: E402
from serving.errors import UserError  # noqa: E402
from tests.kubeflow.postgres_server import PostgresServer, postgres_server  # noqa: E402

ODD = 'C:\\path \\"quoted\\" {"a": "b\\n"} \' $$ %s \u00fc \U0001f600'


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


def test_several_steps_may_create_the_tables_at_once(database: PostgresServer) -> None:
    def types(_: int) -> int:
        with metadata_handle.MetadataHandle(metadata.connection(database.url)) as handle:
            return len(handle.store.get_artifact_types())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(types, range(4))) == [0, 0, 0, 0]


def test_any_text_comes_back_as_it_was(database: PostgresServer) -> None:
    with metadata_handle.MetadataHandle(metadata.connection(database.url)) as handle:
        kind = handle.store.put_artifact_type(
            mlmd.ArtifactType(name="T", properties={"words": mlmd.STRING})
        )
        artifact = mlmd.Artifact(type_id=kind, uri=ODD)
        artifact.properties["words"].string_value = ODD
        artifact.custom_properties["more"].string_value = "\\"
        [made] = handle.store.put_artifacts([artifact])
        [read] = handle.store.get_artifacts_by_id([made])
        assert read.properties["words"].string_value == ODD
        assert read.custom_properties["more"].string_value == "\\"
        assert [each.id for each in handle.store.get_artifacts_by_uri(ODD)] == [made]
    assert artifact.uri == ODD


def test_the_fault_that_the_stored_backslash_works_around_is_still_there(
    database: PostgresServer,
) -> None:
    store = MetadataStore(metadata.connection(database.url))
    kind = store.put_artifact_type(mlmd.ArtifactType(name="T2"))
    with pytest.raises(errors.InternalError, match="syntax error"):
        store.put_artifacts([mlmd.Artifact(type_id=kind, uri="a\\b")])


def test_artifacts_come_in_the_order_in_which_they_were_asked_for(
    database: PostgresServer,
) -> None:
    with metadata_handle.MetadataHandle(metadata.connection(database.url)) as handle:
        kind = handle.store.put_artifact_type(mlmd.ArtifactType(name="T3"))
        made = handle.store.put_artifacts(
            [mlmd.Artifact(type_id=kind, uri=f"u{number}") for number in range(8)]
        )
        # PostgreSQL moves a row that is written again to the end.
        [first] = handle.store.get_artifacts_by_id(made[:1])
        first.uri = "changed"
        handle.store.put_artifacts([first])
        for asked in (made, made[::-1], made[3:] + made[:3]):
            assert [each.id for each in handle.store.get_artifacts_by_id(asked)] == asked


def test_store_that_is_away_for_a_while_is_waited_for(database: PostgresServer) -> None:
    handle = metadata_handle.MetadataHandle(metadata.connection(database.url))
    with handle:
        before = len(handle.store.get_artifact_types())
        database.stop()
        threading.Timer(2, database.start).start()
        start = time.monotonic()
        assert len(handle.store.get_artifact_types()) == before
        assert time.monotonic() - start > 1.5
    with handle:
        assert len(handle.store.get_artifact_types()) == before


def test_store_that_stays_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(metadata_handle.PATIENCE, "1")
    away = metadata.connection("postgresql://u:secret@127.0.0.1:1/db")
    with pytest.raises(UserError, match=r"127.0.0.1:1/db can't be reached") as told:
        metadata_handle.MetadataHandle(away).__enter__()
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("change", [("kubetfx:", "nobody:"), ("/metadata", "/nothing")])
def test_refusal_is_told_at_once(database: PostgresServer, change: tuple[str, str]) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match="refuses user"):
        metadata_handle.MetadataHandle(
            metadata.connection(database.url.replace(*change))
        ).__enter__()
    assert time.monotonic() - start < 5


def test_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    nowhere = metadata.connection(f"sqlite:///{tmp_path}/no/such/folder/m.sqlite")
    with pytest.raises(UserError, match="can't be opened"):
        metadata_handle.MetadataHandle(nowhere).__enter__()


@pytest.mark.parametrize(
    "url",
    ["", "postgresql://", "postgresql://host", "sqlite://", "http://x/y", "postgresql://h:x/d"],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UserError, match="can't be used"):
        metadata.connection(url)


def test_password_is_masked_and_options_are_taken() -> None:
    assert metadata.masked("postgresql://u:p%40@h/d") == "postgresql://u:***@h/d"
    config = metadata.connection("postgresql://u:p%40ss@h:5433/d?sslmode=require")
    assert config.postgresql.password == "p@ss"
    assert config.postgresql.port == "5433"
    assert config.postgresql.ssloption.sslmode == "require"
    assert metadata.connection("mysql://u:p@h/d").mysql.port == 3306
    assert metadata.connection("sqlite:////a/b").sqlite.filename_uri == "/a/b"
