"""The engine's memory: records, the states they go through, and what becomes of damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.engine.records import (
    CONTAINER_STATES,
    SANDBOX_STATES,
    Container,
    IllegalStep,
    Records,
    Sandbox,
)


def container(name: str = "one") -> Container:
    return Container(name, "pod", {"metadata": {"name": "x"}}, "sha256:1", 123)


def test_a_container_lives_as_the_table_says() -> None:
    record = container()
    for event, state in [
        ("prepared", "created"),
        ("start", "starting"),
        ("started", "running"),
        ("ended", "exited"),
        ("remove", "removing"),
        ("remove", "removing"),
    ]:
        record.step(event)
        assert record.state == state


@pytest.mark.parametrize(
    ("state", "event"), [("running", "remove"), ("exited", "start"), ("creating", "start")]
)
def test_what_the_table_does_not_have_is_refused(state: str, event: str) -> None:
    record = container()
    record.state = state
    with pytest.raises(IllegalStep, match=f"container one is {state}: cannot {event}"):
        record.step(event)
    assert record.state == state


@pytest.mark.parametrize("table", [CONTAINER_STATES, SANDBOX_STATES])
def test_every_state_can_be_reached_and_ends_in_removal(table: dict[tuple[str, str], str]) -> None:
    reached = {"creating"}
    while more := {after for (before, _), after in table.items() if before in reached} - reached:
        reached |= more
    assert reached == {before for before, _ in table} | set(table.values())
    ending = {"removing"}
    while more := {before for (before, _), after in table.items() if after in ending} - ending:
        ending |= more
    assert ending == reached


def test_records_are_found_again_by_another_process(tmp_path: Path) -> None:
    records = Records(tmp_path, Container)
    assert records.load() == []
    for name in ("abc1", "abd2"):
        records.save(container(name))
    other = Records(tmp_path, Container)
    assert other.load() == []
    assert {r.id for r in other} == {"abc1", "abd2"}
    assert other.get("abc1") == other.get("abc") == container("abc1")
    assert other.get("ab") is other.get("x") is other.get("") is None
    other.forget("abc1")
    other.forget("abc1")
    assert "abc1" not in other
    assert [p.name for p in tmp_path.iterdir()] == ["abd2.json"]


def test_damaged_files_are_named_and_unfinished_ones_removed(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"id": "to')
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "half.new").write_text("{")
    # A field that a later version wrote does no harm.
    (tmp_path / "new.json").write_text('{"id": "new", "config": {}, "created": 1, "later": true}')
    records = Records(tmp_path, Sandbox)
    assert sorted(records.load()) == ["empty", "list", "torn"]
    assert [r.id for r in records] == ["new"]
    assert not (tmp_path / "half.new").exists()


def test_a_step_that_cannot_be_saved_is_not_taken_unless_it_is_true_already(tmp_path: Path) -> None:
    records = Records(tmp_path / "gone", Container)
    record = container()
    with pytest.raises(OSError, match="No such file"):
        records.advance(record, "prepared")
    assert record.state == "creating"
    records.note(record, "prepared")
    assert record.state == "created"
