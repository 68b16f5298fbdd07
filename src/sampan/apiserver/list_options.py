"""Which parameters of lists and watches go together, worded as upstream's.

Source: k8s.io/apimachinery, pkg/apis/meta/internalversion/validation.
"""

from __future__ import annotations

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.client.api import ApiError
from sampan.kinds import faults
from sampan.kinds.kind import Invalid

_MATCH = "resourceVersionMatch"


def check_list(call: Call) -> None:
    """Raises 422."""
    match, version = call.parameter(_MATCH), call.parameter("resourceVersion")
    found: list[Invalid] = []
    if match:
        if not version:
            found.append(_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if call.parameter("continue"):
            found.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
        if match not in ("Exact", "NotOlderThan"):
            found.append(faults.unsupported(_MATCH, match, ("", "Exact", "NotOlderThan")))
        if match == "Exact" and version == "0":
            found.append(_forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in call.query:
        found.append(faults.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if found:
        raise _invalid(found)


def check_watch(call: Call) -> None:
    """Raises 422."""
    match, initial = call.parameter(_MATCH), "sendInitialEvents" in call.query
    found: list[Invalid] = []
    if initial and match != "NotOlderThan":
        found.append(_forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match:
        if not initial:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            found.append(_forbidden(text))
        if match != "NotOlderThan":
            found.append(faults.unsupported(_MATCH, match, ("NotOlderThan",)))
        if call.parameter("continue"):
            found.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
    if found:
        raise _invalid(found)


def _forbidden(text: str) -> Invalid:
    return faults.forbidden(_MATCH, text)


def _invalid(found: list[Invalid]) -> ApiError:
    causes = [{"reason": f.reason, "message": f.detail, "field": f.field} for f in found]
    lines = [f"{f.field}: {f.detail}" for f in found]
    summary = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": causes}
    return errors.error(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {summary}', details)
