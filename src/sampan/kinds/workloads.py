"""What the kinds that own pods through a template share: their checks of selector, template and numbers."""

from __future__ import annotations

from typing import Any

from sampan.kinds import faults, pod_spec
from sampan.kinds.kind import Invalid
from sampan.machinery import names, selectors
from sampan.machinery.objects import Object, get


def template(spec: Object, *, restart: tuple[str, ...] = ("Always",), path: str = "spec") -> list[Invalid]:
    """Faults of the template, and of labels that the selector beside it does not match."""
    found = pod_spec.validate_template(spec.get("template") or {}, f"{path}.template")
    labels = get(spec, "template.metadata.labels", {})
    selector = spec.get("selector")
    if selector and not _matches(selector, labels):
        at = f"{path}.template.metadata.labels"
        found.append(faults.invalid(at, labels, "`selector` does not match template `labels`"))
    policy = get(spec, "template.spec.restartPolicy")
    if policy not in restart:
        found.append(faults.unsupported(f"{path}.template.spec.restartPolicy", policy or "", restart))
    if get(spec, "template.spec.activeDeadlineSeconds") is not None and restart == ("Always",):
        at = f"{path}.template.spec.activeDeadlineSeconds"
        found.append(faults.forbidden(at, "activeDeadlineSeconds in the pod template is not supported"))
    return found


def _matches(selector: Object, labels: dict[str, str]) -> bool:
    try:
        return selectors.of(selector).matches(labels)
    except selectors.SelectorError:
        return True  # the selector's own faults say it


def count_or_percent(value: Any, path: str, *, limit: int = 0) -> list[Invalid]:
    """Faults of a number that may be a percentage, of at most `limit` percent where one is given."""
    if isinstance(value, str):
        found = faults.each_invalid(path, value, names.percent(value))
        if not found and limit and int(value[:-1]) > limit:
            found.append(faults.invalid(path, value, f"must not be greater than {limit}%"))
        return found
    return faults.not_negative(path, value)
