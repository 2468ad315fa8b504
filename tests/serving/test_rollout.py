"""What a person does with versions: what works, what is refused, and what is said."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from serving import ledger, rollout
from serving.disk import LocalStore, LocalTree
from serving.errors import UserError
from serving.ledger import Ledger
from serving.store_contract import LEDGER_NAME
from serving.versions import Origin, Terms, push


@pytest.fixture
def model(tmp_path: Path) -> LocalTree:
    for path in (
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ):
        (tmp_path / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / path).write_bytes(path.encode())
    return LocalTree(tmp_path / "model")


class Served:
    """A base with versions that are called 0, 1, 2, … in the tests."""

    def __init__(self, base: Path, model: LocalTree) -> None:
        self.path = base
        self.base = str(base)
        self.model = model
        self.numbers: list[int] = []

    def push(self, **terms: Any) -> int:
        origin = Origin(model="taxi", run_id=f"run-{len(self.numbers)}")
        pushed = push(LocalStore(self.base), self.model, origin, Terms(**terms))
        self.numbers.append(pushed.version)
        return pushed.version

    def labels(self) -> dict[str, int]:
        document = ledger.read(self.base)
        return {label: self.numbers.index(number) for label, number in document.labels.items()}

    def spoil(self, which: int) -> None:
        (self.path / str(self.numbers[which]) / "saved_model.pb").write_bytes(b"x" * 14)

    def state(self, which: int) -> str:
        entry = ledger.read(self.base).get(self.numbers[which])
        assert entry is not None
        return entry.state


@pytest.fixture
def served(tmp_path: Path, model: LocalTree) -> Served:
    return Served(tmp_path / "taxi", model)


# ----------------------------------------------------------------------- labels and pushes


def test_the_first_push_is_stable_and_later_ones_as_asked(served: Served) -> None:
    served.push(push_as="canary")
    assert served.labels() == {"stable": 0}
    served.push(push_as="canary")
    assert served.labels() == {"stable": 0, "canary": 1}
    served.push(push_as="canary")
    assert served.labels() == {"stable": 0, "canary": 2}
    served.push()
    assert served.labels() == {"stable": 3}


def test_a_slow_push_does_not_undo_a_later_one_that_was_quick(served: Served) -> None:
    served.push()

    class Slow(LocalTree):
        def chunks(self, path: str) -> Any:
            started = [e for e in ledger.read(served.base).versions if e.state == "pushing"]
            if started and len(served.numbers) == 1:
                served.push()
            yield from super().chunks(path)

    source = Slow(Path(served.model.url))
    slow = push(LocalStore(served.base), source, Origin(model="taxi", run_id="slow"))
    assert slow.version < served.numbers[1]
    assert slow.ledger.labels == {"stable": served.numbers[1]}
    assert "a later one has it already" in slow.explanation
    assert f"promote {slow.version}" in slow.explanation


def test_a_pin_holds_against_pushes_until_it_is_released(served: Served) -> None:
    served.push()
    served.push()
    outcome = rollout.pin(served.base, served.numbers[0], why="holiday")
    assert "pinned" in outcome.explanation
    assert "highest number" in outcome.caution
    served.push()
    assert served.labels() == {"stable": 0}
    served.push(push_as="canary")
    assert served.labels() == {"stable": 0, "canary": 3}
    rollout.unpin(served.base)
    served.push()
    assert served.labels() == {"stable": 4}
    with pytest.raises(UserError, match=r"no version of .* is pinned"):
        rollout.unpin(served.base)


def test_promotion_moves_the_label_and_releases_the_pin(served: Served) -> None:
    for _ in range(3):
        served.push()
    rollout.pin(served.base, "stable")
    outcome = rollout.promote(served.base, str(served.numbers[0]))
    assert served.labels() == {"stable": 0}
    assert not outcome.ledger.pinned
    assert f"load version {served.numbers[0]}" in outcome.explanation
    rollout.promote(served.base, "latest", label="canary")
    assert served.labels() == {"stable": 0, "canary": 2}
    rollout.promote(served.base, "canary")
    assert served.labels() == {"stable": 2}


def test_promoting_what_is_stable_already_changes_nothing(served: Served) -> None:
    served.push()
    before = ledger.read(served.base)
    outcome = rollout.promote(served.base, "stable")
    assert outcome.ledger == before
    assert "Nothing changes" in outcome.explanation


def test_rollback_walks_back_over_versions_that_were_stable(served: Served) -> None:
    served.push()
    served.push()
    served.push(push_as="canary")
    served.push()
    assert rollout.rollback(served.base).ledger.labels == {"stable": served.numbers[1]}
    rollout.rollback(served.base)
    assert served.labels() == {"stable": 0}
    with pytest.raises(UserError) as refusal:
        rollout.rollback(served.base)
    assert "no version before" in refusal.value.what
    assert str(served.numbers[3]) in refusal.value.fix


def test_rollback_of_the_canary_ends_its_trial(served: Served) -> None:
    served.push()
    served.push(push_as="canary")
    outcome = rollout.rollback(served.base, label="canary")
    assert served.labels() == {"stable": 0}
    assert "no longer as canary" in outcome.explanation
    with pytest.raises(UserError, match="is a canary"):
        rollout.rollback(served.base, label="canary")


def test_the_history_says_who_what_and_why(served: Served) -> None:
    served.push(who="run 7", why="blessed")
    served.push()
    rollout.rollback(served.base, who="ann@desk", why="latency doubled")
    pushed, _, back = ledger.read(served.base).history
    assert (pushed.action, pushed.who, pushed.why) == ("push", "run 7", "blessed")
    assert (back.action, back.who, back.why) == ("rollback", "ann@desk", "latency doubled")
    assert back.labels == {"stable": served.numbers[0]}


# ------------------------------------------------------------------------------- refusals


def test_a_version_that_never_was_is_refused_with_those_that_are(served: Served) -> None:
    served.push()
    with pytest.raises(UserError) as refusal:
        rollout.promote(served.base, 5)
    assert "has no version 5" in refusal.value.what
    assert str(served.numbers[0]) in refusal.value.expected
    with pytest.raises(UserError, match="has no version 'green'"):
        rollout.promote(served.base, "green")


@pytest.mark.parametrize("action", [rollout.promote, rollout.pin])
def test_damaged_and_missing_versions_are_refused_though_the_ledger_lists_them(
    served: Served, action: Any
) -> None:
    for _ in range(3):
        served.push()
    served.spoil(0)
    with pytest.raises(UserError, match=r"damaged: saved_model\.pb has other content"):
        action(served.base, served.numbers[0])
    shutil.rmtree(served.path / str(served.numbers[1]))
    with pytest.raises(UserError, match="damaged: its folder is missing"):
        action(served.base, served.numbers[1])
    assert served.labels() == {"stable": 2}


def test_a_rollback_onto_a_damaged_version_is_refused(served: Served) -> None:
    served.push()
    served.push()
    served.spoil(0)
    with pytest.raises(UserError, match="is damaged"):
        rollout.rollback(served.base)
    assert served.labels() == {"stable": 1}


def test_a_retired_version_is_gone_for_good(served: Served) -> None:
    served.push()
    served.push()
    outcome = rollout.retire(served.base, served.numbers[0], why="wrong currency")
    assert "withdrawn" in outcome.explanation
    assert served.state(0) == "deleted"
    assert not (served.path / str(served.numbers[0])).exists()
    for action in (rollout.promote, rollout.pin, rollout.retire):
        with pytest.raises(UserError, match=r"is deleted \(wrong currency\)"):
            action(served.base, served.numbers[0])


def test_what_servers_answer_with_cannot_be_retired_but_a_canary_can(served: Served) -> None:
    served.push()
    served.push(push_as="canary")
    with pytest.raises(UserError, match="servers answer with it"):
        rollout.retire(served.base, "stable")
    rollout.retire(served.base, "canary")
    assert served.labels() == {"stable": 0}


def test_a_mistyped_folder_is_told_and_not_made(tmp_path: Path) -> None:
    for action in (rollout.rollback, rollout.unpin, rollout.repair):
        with pytest.raises(UserError, match=r"has no ledger\.json"):
            action(str(tmp_path / "taxy"))
    assert rollout.status(str(tmp_path / "taxy")).ledger == Ledger()
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------- repair


def test_a_damaged_stable_is_marked_and_the_label_goes_back(served: Served) -> None:
    served.push()
    served.push()
    served.spoil(1)
    assert rollout.status(served.base).problems == ()
    (problem,) = rollout.status(served.base, deep=True).problems
    assert "saved_model.pb has other content" in problem
    outcome = rollout.repair(served.base)
    assert served.labels() == {"stable": 0}
    assert served.state(1) == "damaged"
    assert any("stable names version" in sentence for sentence in outcome.done)
    assert f"load version {served.numbers[0]}" in outcome.explanation


def test_restored_files_make_a_version_available_again(served: Served, tmp_path: Path) -> None:
    served.push()
    served.push()
    folder = served.path / str(served.numbers[0])
    folder.rename(tmp_path / "aside")
    rollout.repair(served.base)
    assert served.state(0) == "damaged"
    (tmp_path / "aside").rename(folder)
    outcome = rollout.repair(served.base)
    assert served.state(0) == "available"
    assert outcome.done == (f"version {served.numbers[0]} is whole again",)
    assert rollout.repair(served.base).done == ()


def test_a_lost_ledger_is_rebuilt_from_the_manifests(served: Served) -> None:
    served.push()
    served.push()
    served.push(push_as="canary")
    before = ledger.read(served.base)
    (served.path / LEDGER_NAME).unlink()
    assert len(rollout.status(served.base).problems) == 3
    rollout.repair(served.base)
    after = ledger.read(served.base)
    assert after.labels == before.labels
    assert after.model == "taxi"
    assert [e.digest for e in after.versions] == [e.digest for e in before.versions]
    assert rollout.rollback(served.base).ledger.labels["stable"] == served.numbers[0]


def test_an_unreadable_ledger_is_kept_aside_and_rebuilt(served: Served) -> None:
    served.push()
    generation = ledger.generation(served.base)
    broken = (served.path / LEDGER_NAME).read_bytes()[:100]
    (served.path / LEDGER_NAME).write_bytes(broken)
    with pytest.raises(UserError, match="is not JSON"):
        rollout.status(served.base)
    outcome = rollout.repair(served.base)
    assert served.labels() == {"stable": 0}
    assert outcome.ledger.generation > generation
    (kept,) = served.path.glob(".ledger.json.unreadable-*")
    assert kept.read_bytes() == broken


def test_versions_of_another_pusher_are_entered_and_half_ones_marked(
    served: Served, model: LocalTree, tmp_path: Path
) -> None:
    for number in ("1600000000", "1600000001"):
        shutil.copytree(tmp_path / "model", served.path / number)
    (served.path / "1600000002").mkdir()
    (served.path / "1600000002" / "saved_model.pb").write_bytes(b"first of many")
    (served.path / "1600000002" / "variables").mkdir()
    (served.path / "1600000002" / "variables" / "variables.index").write_bytes(b"second")
    rollout.repair(served.base)
    document = ledger.read(served.base)
    assert [e.version for e in document.available] == [1600000000, 1600000001]
    assert document.labels == {"stable": 1600000001}
    assert "is not complete" in (document.get(1600000002) or document.versions[0]).note
    shutil.copytree(tmp_path / "model", served.path / "1600000002", dirs_exist_ok=True)
    rollout.repair(served.base)
    assert ledger.read(served.base).available[-1].version == 1600000002
    assert served.push() > 1600000002
    assert rollout.rollback(served.base).ledger.labels == {"stable": 1600000001}


def test_a_repair_leaves_a_push_alone_that_is_under_way(served: Served) -> None:
    served.push()
    store = LocalStore(served.base)

    class Meddler(LocalTree):
        def chunks(self, path: str) -> Any:
            rollout.repair(served.base)
            yield from super().chunks(path)

    source = Meddler(Path(served.model.url))
    pushed = push(store, source, Origin(model="taxi", run_id="slow"))
    assert pushed.ledger.labels == {"stable": pushed.version}
    assert rollout.status(served.base, deep=True).problems == ()
    actions = [change.action for change in pushed.ledger.history]
    assert actions == ["push", "push"]


def test_hidden_files_of_a_network_disk_are_no_damage_and_others_are(served: Served) -> None:
    served.push()
    folder = served.path / str(served.numbers[0])
    (folder / ".nfs000001").write_bytes(b"")
    assert rollout.status(served.base, deep=True).problems == ()
    (folder / "variables" / "variables.data-00001-of-00002").write_bytes(b"?")
    (problem,) = rollout.status(served.base).problems
    assert "was not pushed" in problem


def test_what_is_left_of_dead_pushes_is_removed(served: Served) -> None:
    served.push()
    left = served.path / ".incoming-99-abcd"
    (left / "model").mkdir(parents=True)
    (served.path / ".deleting-98-abcd").mkdir()
    dead = (
        ledger.read(served.base)
        .versions[0]
        .model_copy(update={"version": served.numbers[0] + 50, "state": "pushing", "key": "dead"})
    )
    ledger.update(LocalStore(served.base), lambda now: now.with_version(dead))
    assert rollout.status(served.base).problems == (f"the push of version {dead.version} died",)
    outcome = rollout.repair(served.base)
    assert len(outcome.done) == 3
    assert sorted(os.listdir(served.base)) == sorted(  # noqa: PTH208
        [".ledger.lock", LEDGER_NAME, str(served.numbers[0])]
    )
    assert rollout.status(served.base).problems == ()
