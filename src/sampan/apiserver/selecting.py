"""What a list or watch selects, by labels and by fields, as one question asked of an object."""

from __future__ import annotations

from collections.abc import Callable

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.kinds.kind import Kind
from sampan.machinery import selectors
from sampan.machinery.objects import Object

Selector = Callable[[Object], bool]


def selector(call: Call) -> Selector | None:
    """The question, or None where everything is asked for. Raises 400 for a selector that cannot be."""
    labels_text, fields_text = call.parameter("labelSelector"), call.parameter("fieldSelector")
    if not labels_text and not fields_text:
        return None
    try:
        labels, fields = selectors.parse(labels_text), selectors.parse_fields(fields_text)
    except selectors.SelectorError as e:
        raise errors.bad_request(str(e)) from e
    kind = call.resource
    for requirement in fields.requirements:
        if not kind.knows_field(requirement.key):
            raise errors.bad_request(f"field label not supported: {requirement.key}")
    return _matcher(kind, labels, fields)


def _matcher(kind: Kind, labels: selectors.Selector, fields: selectors.Selector) -> Selector:
    def matches(obj: Object) -> bool:
        if labels and not labels.matches(obj["metadata"].get("labels")):
            return False
        if not fields:
            return True
        found = kind.selectable(kind.from_storage(obj))
        return all((found.get(r.key, "") == r.values[0]) == (r.operator == "=") for r in fields.requirements)

    return matches
