"""Label and field selectors, by the examples of their pages and by comparing their two forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery import names, selectors
from sampan.machinery.selectors import SelectorError


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("environment=production", {"environment": "production"}, True),
        ("environment==production", {"environment": "qa"}, False),
        ("tier!=frontend", {}, True),
        ("tier!=frontend", {"tier": "frontend"}, False),
        ("environment in (production, qa)", {"environment": "qa"}, True),
        ("environment in (production, qa)", {}, False),
        ("tier notin (frontend,backend)", {}, True),
        ("tier notin (frontend,backend)", {"tier": "backend"}, False),
        ("partition", {"partition": ""}, True),
        ("!partition", {"partition": ""}, False),
        ("a=1,b in (x),!c", {"a": "1", "b": "x"}, True),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("n>5", {"n": "6"}, True),
        ("n<5", {"n": "6"}, False),
        ("n>5", {"n": "many"}, False),
        ("", {"anything": "x"}, True),
        ("app.kubernetes.io/name=web", {"app.kubernetes.io/name": "web"}, True),
        ("a in ()", {"a": ""}, True),
    ],
)
def test_label_selectors(text: str, labels: dict[str, str], matches: bool) -> None:
    assert selectors.parse(text).matches(labels) is matches


@pytest.mark.parametrize(
    "text", ["a in b", "a in (b", "=b", "a=b=c", "a,,b", "-bad=x", "a=b c", "a>x", "a==,b=!", "(a)", "a b"]
)
def test_what_is_no_label_selector(text: str) -> None:
    with pytest.raises(SelectorError):
        selectors.parse(text)


def test_the_object_form() -> None:
    selector = {
        "matchLabels": {"component": "redis"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["cache"]},
            {"key": "environment", "operator": "NotIn", "values": ["dev"]},
            {"key": "gone", "operator": "DoesNotExist"},
        ],
    }
    found = selectors.of(selector)
    assert found.matches({"component": "redis", "tier": "cache"})
    assert not found.matches({"component": "redis", "tier": "cache", "environment": "dev"})
    assert str(found) == "component=redis,environment notin (dev),!gone,tier in (cache)"


def test_nothing_and_everything() -> None:
    assert not selectors.of(None).matches({"a": "b"})
    assert selectors.of({}).matches({"a": "b"})
    assert not selectors.of_labels({}).matches({"a": "b"})


@pytest.mark.parametrize(
    "item",
    [
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["x"]},
        {"key": "a", "operator": "Like", "values": ["x"]},
    ],
)
def test_what_is_no_requirement(item: dict[str, object]) -> None:
    with pytest.raises(SelectorError):
        selectors.of({"matchExpressions": [item]})


keys = st.sampled_from(["a", "b", "app.kubernetes.io/name", "x-1"])
values = st.text("abc.-_", max_size=5).filter(lambda v: not names.label_value(v))
requirements = st.one_of(
    st.builds(lambda k, v: selectors.Requirement(k, "=", (v,)), keys, values),
    st.builds(lambda k, v: selectors.Requirement(k, "!=", (v,)), keys, values),
    st.builds(
        lambda k, o, v: selectors.Requirement(k, o, tuple(sorted(v))),
        keys, st.sampled_from(["in", "notin"]), st.sets(values, min_size=1),
    ),
    st.builds(lambda k, o: selectors.Requirement(k, o), keys, st.sampled_from(["exists", "!"])),
)  # fmt: skip


@given(st.lists(requirements), st.dictionaries(keys, values))
def test_a_selector_reads_back_from_its_text(
    found: list[selectors.Requirement], labels: dict[str, str]
) -> None:
    selector = selectors.Selector(tuple(found))
    assert selectors.parse(str(selector)).matches(labels) == selector.matches(labels)


def test_field_selectors() -> None:
    found = selectors.parse_fields("status.phase=Running,spec.nodeName!=n1,metadata.name==a\\,b").requirements
    assert [(r.key, r.operator, r.values) for r in found] == [
        ("status.phase", "=", ("Running",)),
        ("spec.nodeName", "!=", ("n1",)),
        ("metadata.name", "=", ("a,b",)),
    ]


def test_field_selectors_escape() -> None:
    selector = selectors.parse_fields(r"a=x\,y\=z,b==2")
    assert [(r.key, r.values[0]) for r in selector.requirements] == [("a", "x,y=z"), ("b", "2")]
    with pytest.raises(SelectorError):
        selectors.parse_fields("nonsense")
