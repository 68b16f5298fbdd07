"""Who may use the kubelet's API: client certificates or bearer tokens, authorized by the API server."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TypeVar

from sampan.client.api import ApiError, Client, Unavailable
from sampan.http.messages import Request
from sampan.machinery.objects import Object

K = TypeVar("K")
V = TypeVar("V")
REMEMBER_YES, REMEMBER_NO = 120.0, 10.0  # seconds
MOST_REMEMBERED = 1024
VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# The subresource of nodes that a path stands for; all others are `proxy`.
SUBRESOURCES = (
    ("/stats", "stats"),
    ("/metrics", "metrics"),
    ("/logs", "log"),
    ("/pods", "pods"),
    ("/healthz", "healthz"),
    ("/configz", "configz"),
)
FINE = {"pods", "healthz", "configz"}  # where the right to `proxy` does as well


class Denied(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


def subresource(path: str) -> str:
    for prefix, name in SUBRESOURCES:
        if path == prefix or path.startswith(prefix + "/"):
            return name
    return "proxy"


class Guard:
    """Answers of the API server are remembered for a while."""

    def __init__(self, client: Client, node: str):
        self._client, self._node = client, node
        self._users: dict[str, tuple[User | None, float]] = {}
        self._answers: dict[tuple[User, str, str], tuple[bool, float]] = {}

    def forget(self) -> None:
        """Ask again about everyone."""
        self._users.clear()
        self._answers.clear()

    async def check(self, request: Request) -> None:
        """Raises Denied."""
        user = await self._user(request)
        if user is None:
            raise Denied(401, "Unauthorized")
        if "system:masters" in user.groups:
            return
        verb, name = VERBS.get(request.method, request.method.lower()), subresource(request.path)
        if await self._allowed(user, verb, name) or (
            name in FINE and await self._allowed(user, verb, "proxy")
        ):
            return
        raise Denied(
            403, f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{name}])"
        )

    async def _user(self, request: Request) -> User | None:
        if request.peer.certificate:
            from sampan.host import pki

            found = pki.identity(request.peer.certificate)
            return User(found.user, (*found.groups, "system:authenticated"))
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            return None
        known = self._users.get(token)
        if known is None or known[1] < time.monotonic():
            user = await self._review(token.strip())
            known = (user, time.monotonic() + (REMEMBER_YES if user else REMEMBER_NO))
            _remember(self._users, token, known)
        return known[0]

    async def _review(self, token: str) -> User | None:
        review: Object = {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {"token": token},
        }  # fmt: skip
        status = (await self._ask("tokenreviews.authentication.k8s.io", review)).get("status") or {}
        if not status.get("authenticated"):
            return None
        user = status["user"]
        return User(user.get("username", ""), tuple(user.get("groups") or ()), user.get("uid", ""))

    async def _allowed(self, user: User, verb: str, name: str) -> bool:
        key = (user, verb, name)
        known = self._answers.get(key)
        if known is None or known[1] < time.monotonic():
            allowed = await self._authorized(user, verb, name)
            known = (allowed, time.monotonic() + (REMEMBER_YES if allowed else REMEMBER_NO))
            _remember(self._answers, key, known)
        return known[0]

    async def _authorized(self, user: User, verb: str, name: str) -> bool:
        attributes = {
            "verb": verb,
            "version": "v1",
            "resource": "nodes",
            "subresource": name,
            "name": self._node,
        }
        review: Object = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": {"user": user.name, "groups": list(user.groups), "resourceAttributes": attributes},
        }
        answer = await self._ask("subjectaccessreviews.authorization.k8s.io", review)
        return bool((answer.get("status") or {}).get("allowed"))

    async def _ask(self, kind: str, review: Object) -> Object:
        try:
            return await self._client.create(kind, review)
        except (ApiError, Unavailable) as e:
            raise Denied(500, f"Authorization error: {e}") from e


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    known[key] = value
