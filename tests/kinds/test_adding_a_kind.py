"""The checklist `docs/adding-a-kind.md` gives a kind that works, taken word by word."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sampan.kinds import registry, schemas, subresources
from sampan.kinds.kind import Kind
from sampan.machinery import tables

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "adding-a-kind.md"


@pytest.fixture
def boat(monkeypatch: pytest.MonkeyPatch) -> Kind:
    """The document's kind, written and registered by its steps."""
    text = "\n".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))
    module = ModuleType("sampan.kinds.boat")
    exec(compile(text, str(DOCUMENT), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "sampan.kinds.boat", module)
    monkeypatch.setattr(registry, "MODULES", (*registry.MODULES, "boat"))
    caches = (registry.builtin, registry._by_resource, registry._by_name)
    for cache in caches:
        cache.cache_clear()
    found = registry.find("boats.fleet.example.com")
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()
    return found


def sampan(**spec: Any) -> Any:
    return {"metadata": {"name": "sampan", "namespace": "default"}, "spec": spec}


def test_the_kind_has_its_names(boat: Kind) -> None:
    assert (boat.api_version, boat.kind, boat.resource) == (
        "fleet.example.com/v1",
        "Boat",
        "boats.fleet.example.com",
    )
    assert subresources.describe(boat, "status").kind == "Boat"


def test_it_defaults_validates_and_counts(boat: Kind) -> None:
    obj = schemas.decode(sampan(harbour="East"), boat.group, boat.version, boat.kind).obj
    boat.default(obj)
    assert boat.prepare
    boat.prepare(obj, None, "")
    assert obj["spec"] == {"harbour": "East", "sails": 1}
    assert obj["metadata"]["generation"] == 1
    assert boat.validate(obj, None) == []
    assert [f.field for f in boat.validate(sampan(harbour="North", sails=-1), None)] == [
        "spec.sails",
        "spec.harbour",
    ]
    assert [f.field for f in boat.validate(sampan(harbour="West"), obj)] == ["spec.harbour"]


def test_it_has_a_table_and_field_selectors(boat: Kind) -> None:
    obj = sampan(harbour="East")
    assert tables.table(boat.columns, [obj], 0)["rows"][0]["cells"] == ["sampan", "East", "<unknown>"]
    assert boat.selectable(obj)["spec.harbour"] == "East"
    assert boat.knows_field("spec.harbour")
