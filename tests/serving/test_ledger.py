"""The ledger: what is read, what is refused, and that no writer loses another's change."""

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs

from serving import ledger, object_stores, rollout
from serving.disk import LocalStore, LocalTree
from serving.errors import UserError
from serving.ledger import Ledger, LedgerWatch, Version
from serving.object_stores import ObjectStore
from serving.store_contract import LedgerConflictError, VersionStore
from serving.stores import open_store
from serving.versions import Origin, Terms, push
from tests.serving.generation_server import generation_server
from tests.serving.object_store_server import make_bucket, s3_server

MODEL = {
    "saved_model.pb": b"graph" * 100,
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"weights" * 200_000,
}


@pytest.fixture
def model(tmp_path: Path) -> LocalTree:
    for path, content in MODEL.items():
        (tmp_path / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / path).write_bytes(content)
    return LocalTree(tmp_path / "model")


@pytest.fixture(scope="module")
def s3_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        s3_server(tmp_path_factory.mktemp("s3") / "weed") as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        make_bucket("models")
        yield "s3://models"


@pytest.fixture
def s3_base(s3_bucket: str, request: pytest.FixtureRequest) -> str:
    return f"{s3_bucket}/{request.node.name}/taxi"


@pytest.fixture
def gs_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], ObjectStore]]:
    with generation_server() as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
        yield lambda: ObjectStore("gs://bucket/models/taxi")


def entry(number: int) -> Version:
    return Version(version=number, state="available", key=str(number), created=ledger.now())


def add(number: int) -> Callable[[Ledger], Ledger]:
    return lambda current: current.with_version(entry(number)).with_labels({"stable": number})


# ---------------------------------------------------------------------------------- reading


def test_a_folder_without_ledger_reads_as_an_empty_one(tmp_path: Path) -> None:
    document = ledger.read(str(tmp_path / "nothing"))
    assert (document.generation, document.labels, document.versions) == (0, {}, ())
    assert not (tmp_path / "nothing").exists()


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    written = ledger.update(store, add(7))
    assert ledger.read(str(tmp_path)) == written
    assert written.generation == ledger.generation(str(tmp_path)) == 1
    assert written.stable is not None
    assert written.stable.stable_at is not None


def test_the_ledger_is_read_without_tensorflow_and_quickly() -> None:
    code = (
        "import sys; from serving import ledger, rollout, versions, repair;"
        "heavy = {'tensorflow', 'numpy', 'pyarrow', 's3fs', 'tfx'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(schema=2), "has layout 2, written by a newer kubetfx"),
        (lambda d: d.update(colour="red"), "colour: Extra inputs are not permitted"),
        (lambda d: d.update(generation="7"), "generation: Input should be a valid integer"),
        (lambda d: d["labels"].update(stable=8), "a label names version 8, which is not listed"),
        (lambda d: d["labels"].update(green=7), "green"),
        (lambda d: d["versions"].append(d["versions"][0]), "versions are not unique"),
        (lambda d: d["versions"][0].update(state="fine"), "versions.0.state"),
        (lambda d: d["versions"][0].update(created="yesterday"), "versions.0.created"),
    ],
)
def test_a_document_that_is_no_ledger_is_refused_by_its_place(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    ledger.update(LocalStore(tmp_path), add(7))
    document = json.loads((tmp_path / "ledger.json").read_bytes())
    change(document)
    (tmp_path / "ledger.json").write_text(json.dumps(document))
    with pytest.raises(UserError) as refusal:
        ledger.read(str(tmp_path))
    assert said in refusal.value.what
    assert str(tmp_path / "ledger.json") in refusal.value.what


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_bytes_that_are_no_document_are_refused_and_not_written_over(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "ledger.json").write_bytes(content)
    with pytest.raises(UserError, match=r"ledger\.json is not"):
        ledger.update(LocalStore(tmp_path), add(7))
    assert (tmp_path / "ledger.json").read_bytes() == content


def test_a_newer_layout_is_left_alone_even_by_a_repair(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text('{"schema": 99, "whatever": 1}')
    with pytest.raises(UserError, match="upgrade kubetfx"):
        rollout.repair(str(tmp_path))
    assert (tmp_path / "ledger.json").read_text() == '{"schema": 99, "whatever": 1}'


def test_a_watch_reads_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = LedgerWatch(str(tmp_path))
    first = watch.poll()
    assert first is not None
    assert first.generation == 0
    reads = []
    read = LocalStore.read_ledger

    def counted(store: LocalStore) -> Any:
        reads.append(store)
        return read(store)

    monkeypatch.setattr(LocalStore, "read_ledger", counted)
    assert [watch.poll() for _ in range(5)] == [None] * 5
    assert reads == []
    for number in range(1, 50):
        ledger.update(LocalStore(tmp_path), add(number))
        changed = watch.poll()
        assert changed is not None
        assert changed.labels == {"stable": number}
        assert watch.poll() is None


def test_the_history_and_the_records_of_deleted_versions_are_bounded(tmp_path: Path) -> None:
    document = Ledger()
    for number in range(1, 1200):
        gone = entry(number).model_copy(update={"state": "deleted"})
        document = document.with_version(gone).with_change("delete", number, "me", "")
    document = document.next_generation()
    assert len(document.history) == 1000
    assert document.history[-1].version == 1199
    assert [one.version for one in document.versions] == list(range(1000, 1200))
    assert document.last_version == 1199


# ------------------------------------------------------------------------ compare-and-swap


def count_to(store: Callable[[], VersionStore], threads: int, each: int) -> int:
    """Increments a counter (the last version) from several threads; each has its own store."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(each):
                ledger.update(store(), lambda now: now.with_version(entry(now.last_version + 1)))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    return ledger.read_store(store()).last_version


def test_a_swap_against_a_token_of_the_past_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.swap_ledger(b"one", None)
    with pytest.raises(LedgerConflictError):
        store.swap_ledger(b"two", None)
    snapshot = store.read_ledger()
    assert snapshot is not None
    store.swap_ledger(b"two", snapshot.token)
    with pytest.raises(LedgerConflictError):
        store.swap_ledger(b"three", snapshot.token)
    assert (tmp_path / "ledger.json").read_bytes() == b"two"


def test_a_disk_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("serving.disk.fcntl.flock", refuse)
    with pytest.raises(UserError, match="has no file locks") as refusal:
        ledger.update(LocalStore(tmp_path), add(7))
    assert "s3://" in refusal.value.fix


def test_a_lock_that_is_never_given_back_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.disk._LOCK_PATIENCE_S", 0.1)
    with (
        LocalStore(tmp_path).exclusive(),
        pytest.raises(UserError, match=r"\.ledger\.lock has been locked for"),
    ):
        ledger.update(LocalStore(tmp_path), add(7))
    assert ledger.update(LocalStore(tmp_path), add(7)).generation == 1


def test_threads_that_share_a_disk_lose_no_change(tmp_path: Path) -> None:
    shared = LocalStore(tmp_path)
    assert count_to(lambda: shared, threads=6, each=10) == 60


def test_writers_to_s3_lose_no_change(s3_base: str) -> None:
    stores = threading.local()

    def mine() -> VersionStore:
        if not hasattr(stores, "store"):
            stores.store = open_store(s3_base)
        store: VersionStore = stores.store
        return store

    assert count_to(mine, threads=3, each=4) == 12


def test_writers_to_google_cloud_storage_lose_no_change(
    gs_store: Callable[[], ObjectStore],
) -> None:
    assert count_to(gs_store, threads=3, each=4) == 12
    assert ledger.read_store(gs_store()).generation == 12


def test_a_put_that_was_sent_twice_counts_once(tmp_path: Path) -> None:
    class LostAnswer(LocalStore):
        lost = False

        def swap_ledger(self, data: bytes, expected: str | None) -> None:
            super().swap_ledger(data, expected)
            if not self.lost:
                self.lost = True
                raise LedgerConflictError("the answer got lost; the second try met the first")

    written = ledger.update(LostAnswer(tmp_path), add(7))
    assert written.generation == 1


def test_a_store_that_ignores_conditions_is_refused(
    s3_base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(s3_base)
    call = store._fs.call_s3

    def careless(method: str, **arguments: Any) -> Any:
        arguments.pop("IfMatch", None)
        return call(method, **arguments)

    monkeypatch.setattr(store._fs, "call_s3", careless)
    with pytest.raises(UserError, match="ignores If-Match on a put"):
        ledger.update(store, add(7))
    assert ledger.read(s3_base).generation == 0


def test_missing_credentials_and_a_missing_bucket_are_told(
    s3_base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="there is no bucket s3://elsewhere"):
        ledger.update(open_store("s3://elsewhere/taxi"), add(7))
    # fsspec hands out the same client for the same arguments.
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UserError, match="can't be reached"):
        ledger.read(s3_base)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_is_asked_where_the_environment_says_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for port in (1, 2):
        endpoint = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert object_stores._filesystem("s3://models").endpoint_url == endpoint


def test_a_scheme_that_no_store_speaks_is_named() -> None:
    with pytest.raises(UserError, match="has the scheme 'hdfs'"):
        ledger.read("hdfs://cluster/models/taxi")


# ------------------------------------------------------------------- the same push, to S3


def test_an_object_store_shows_a_version_last_and_rolls_back(
    s3_base: str, model: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(s3_base)
    uploads: list[str] = []
    opened = store._fs.open

    def watched(path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "wb":
            uploads.append(path.rsplit("/", 1)[-1])
        return opened(path, mode, **options)

    monkeypatch.setattr(store._fs, "open", watched)
    pushed = [
        push(store, model, Origin(model="taxi", run_id=f"run-{n}"), Terms(keep=2), {"x": b"extra"})
        for n in range(3)
    ]
    numbers = [one.version for one in pushed]
    assert uploads[4::5] == ["saved_model.pb"] * 3
    assert store.folders() == [str(number) for number in numbers[1:]]
    status = rollout.status(s3_base, deep=True)
    assert status.problems == ()
    assert status.ledger.labels == {"stable": numbers[2]}
    assert rollout.rollback(s3_base).ledger.labels == {"stable": numbers[1]}
    store._fs.pipe_file(f"{s3_base}/{numbers[2]}/variables/variables.index", b"other")
    with pytest.raises(UserError, match=r"damaged: variables/variables\.index has other content"):
        rollout.promote(s3_base, numbers[2])


def test_a_push_to_an_object_store_that_stops_anywhere_is_resumed_or_swept(
    s3_base: str, model: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(s3_base)
    first = push(store, model, Origin(model="taxi", run_id="earlier")).version
    opened = store._fs.open
    for allowed in range(5):
        left = [allowed]

        def stop(path: str, mode: str = "rb", left: list[int] = left, **options: Any) -> Any:
            if mode == "wb":
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
            return opened(path, mode, **options)

        monkeypatch.setattr(store._fs, "open", stop)
        try:
            resumed = push(store, model, Origin(model="taxi", run_id="run"))
        except KeyboardInterrupt:
            complete = [one for one in store.folders() if (one, "saved_model.pb") in listed(store)]
            assert complete == [str(first)]
            assert ledger.read(s3_base).labels == {"stable": first}
    monkeypatch.setattr(store._fs, "open", opened)
    resumed = push(store, model, Origin(model="taxi", run_id="run"))
    assert resumed.resumed
    assert [one.version for one in resumed.ledger.available] == [first, resumed.version]
    assert rollout.repair(s3_base).done == ()


def listed(store: ObjectStore) -> set[tuple[str, str]]:
    return {
        (folder, path) for folder in store.folders() for path in store.version(int(folder)).sizes()
    }
