"""From a method and a path to what is asked for: which verb, on which resource.

Source: k8s.io/apiserver pkg/endpoints/request/requestinfo.go, and the API conventions' "Resources" section.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.aggregator import proxy
from sampan.apiserver.call import Call
from sampan.apiserver.catalog import Catalog
from sampan.client.api import ApiError
from sampan.http.messages import Request, query

if TYPE_CHECKING:
    from sampan.apiserver.aggregator.services import Remote

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
# Subresources of namespaces; any other word after a namespace's name is a resource in it.
_OF_NAMESPACES = ("status", "finalize")
# Subresources that connect to something else, and take the rest of the path.
PROXIES = ("proxy",)
# What views of the past begin with; the path that is looked at follows.
_PAST = ["sampan", "v1"]


class Routes:
    """The resources served, by group, version and plural."""

    def __init__(self, catalog: Catalog, remote: Callable[[str, str], Remote | None]):
        self._catalog = catalog
        self._remote = remote

    def call(self, request: Request) -> Call:
        """The call that a request makes; its `fault` is 404 where no resource is served, 405 for an unknown method."""
        call = Call(
            verb=request.method.lower(),
            path=request.path,
            query=query(request.query) if request.query else {},
            headers=request.headers,
            content_type=request.headers.get("content-type", ""),
            request=request,
        )
        words = [w for w in request.path.split("/") if w]
        if words[:2] == _PAST:
            words = _past(call, words[2:])
        try:
            if words[:1] == ["api"] and len(words) > 2:
                self._resource(call, "", words[1], words[2:])
            elif words[:1] == ["apis"] and len(words) > 2:
                call.remote = self._remote(words[1], words[2])
                if len(words) > 3:
                    self._resource(call, words[1], words[2], words[3:])
        except ApiError as e:
            call.kind, call.fault = None, e
        return call

    def _resource(self, call: Call, group: str, version: str, words: list[str]) -> None:
        watching = words[0] == "watch" and len(words) > 1
        if watching:
            words = words[1:]
        if words[0] == "namespaces" and len(words) > 2 and words[2] not in _OF_NAMESPACES:
            call.namespace, words = words[1], words[2:]
        found = self._catalog.served(group, version, words[0])
        if call.remote:
            found = proxy.kind(group, version, words[0], bool(call.namespace), "/".join(words[2:3]))
        if not found or (call.namespace and not found.namespaced):
            raise errors.no_such_path()
        call.kind = found
        if len(words) > 1:
            call.name = words[1]
        if len(words) > 2:
            call.subresource = words[2]
            call.subpath = _rest(call.path, words[3:]) if words[2] in PROXIES else ""
            unknown = (len(words) > 3 and words[2] not in PROXIES) or words[2] not in found.subresources
            if unknown and not call.remote:
                raise errors.no_such_path()
        call.verb = _verb(call, watching)
        if call.view == "undo" and call.verb == "create":
            call.verb = "update"


def _past(call: Call, words: list[str]) -> list[str]:
    """Note which view of the past a call asks for; the words of the path that it is a view of."""
    view = words[0] if words else ""
    if view not in ("at", "history", "undo", "record"):
        return []
    rest = words[1:]
    if view == "at":
        call.moment, rest = rest[0] if rest else "", rest[1:]
    call.view = view
    if view != "record":
        call.path = _rest(call.path, rest)
    return rest


def _rest(path: str, words: list[str]) -> str:
    """What follows the subresource, with its slashes; empty where nothing does, not even one."""
    slash = "/" if path.endswith("/") else ""
    return "/" + "/".join(words) + slash if words else slash


def _verb(call: Call, watching: bool) -> str:
    assert call.request is not None
    verb = _VERBS.get(call.request.method)
    if verb is None:
        if call.subresource in PROXIES:
            return ""  # any method passes to what is behind; for authorization it has no name
        raise errors.method_not_allowed()
    if verb == "get" and not call.subresource and (watching or call.flag("watch")):
        selected(call)
        return "watch"
    if verb == "get" and not call.name:
        selected(call)
        return "list"
    return "deletecollection" if verb == "delete" and not call.name else verb


def selected(call: Call) -> None:
    """A list or watch of one name, said by a field selector, is authorized as one of that name."""
    call.name = call.name or field_value(call, "metadata.name")


def field_value(call: Call, field: str) -> str:
    """What a call's field selector says that a field equals, if it does."""
    for term in call.parameter("fieldSelector").split(","):
        name, _, value = term.replace("==", "=").partition("=")
        if name == field:
            return value
    return ""
