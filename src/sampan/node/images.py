"""Images for containers: pull policy, pull secrets, and waiting after a failure.

Sources: the Kubernetes documentation's page on images; the registry credential file (`.dockerconfigjson`).
"""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sampan.host import trace
from sampan.machinery.cri import CriError, messages
from sampan.machinery.objects import Object
from sampan.node.backoff import PULL, Backoff
from sampan.node.runtime import SERVICE, Runtime

AT_ONCE = 5
TIMEOUT = 3600.0  # seconds; a large image over a slow line
Tell = Callable[[str, str, str], None]  # type, reason, message


class ImageError(Exception):
    """`reason` is such as ErrImagePull; `again` when to try again, in seconds."""

    def __init__(self, reason: str, message: str, again: float):
        super().__init__(message)
        self.reason, self.again = reason, again


@dataclass(frozen=True, slots=True)
class Credential:
    """From a pull secret: for which images (`registry.example/team`), and what to show."""

    match: str
    username: str = ""
    password: str = ""
    auth: str = ""
    identity_token: str = ""


def policy(container: Object) -> str:
    """The container's pull policy; without one, Always for the tag `latest` and IfNotPresent otherwise."""
    given = container.get("imagePullPolicy")
    if given:
        return str(given)
    name = container["image"].rpartition("/")[2]
    return "Always" if "@" not in name and name.partition(":")[2] in ("", "latest") else "IfNotPresent"


def credentials(secrets: Iterable[Object]) -> list[Credential]:
    """What pull secrets hold; those that cannot be read are passed over."""
    found = []
    for secret in secrets:
        for key in (".dockerconfigjson", ".dockercfg"):
            if text := (secret.get("data") or {}).get(key):
                found += _entries(text)
    return found


def _entries(text: str) -> list[Credential]:
    try:
        read = json.loads(base64.b64decode(text))
        auths = read.get("auths", read)
        return [
            Credential(
                registry.removeprefix("https://")
                .removeprefix("http://")
                .removesuffix("/v1/")
                .removesuffix("/v2/")
                .rstrip("/"),
                *_login(entry),
                identity_token=entry.get("identitytoken", ""),
            )
            for registry, entry in auths.items()
        ]
    except (ValueError, AttributeError):
        return []


def _login(entry: Object) -> tuple[str, str]:
    if entry.get("auth") and not entry.get("username"):
        user, _, password = base64.b64decode(entry["auth"]).decode(errors="replace").partition(":")
        return user, password
    return entry.get("username", ""), entry.get("password", "")


def matching(image: str, known: Iterable[Credential]) -> list[Credential]:
    """The credentials that apply to an image, the most specific first."""
    name = image.partition("@")[0]
    first = name.split("/")[0]
    if "/" not in name or ("." not in first and ":" not in first and first != "localhost"):
        name = f"docker.io/{name}"
    return sorted(
        (c for c in known if _applies(name, c.match)), key=lambda c: c.match.count("/"), reverse=True
    )


def _applies(name: str, match: str) -> bool:
    host, _, path = name.partition("/")
    wanted, _, prefix = match.partition("/")
    hosts = {host, "index.docker.io"} if host == "docker.io" else {host}
    return any(fnmatch.fnmatchcase(h, wanted) for h in hosts) and (
        not prefix or f"{path}/".startswith(f"{prefix}/") or path.startswith(f"{prefix}:")
    )


class Images:
    """Makes sure of images. `used` tells when each was last asked for, for the garbage collection."""

    def __init__(self, runtime: Runtime):
        self._runtime = runtime
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._waits: dict[tuple[str, str], tuple[Backoff, str]] = {}
        self.used: dict[str, float] = {}

    async def ensure(
        self,
        pod: Object,
        container: Object,
        sandbox: Any,
        secrets: Callable[[], Awaitable[list[Object]]],
        tell: Tell,
    ) -> Any:
        """The CRI Image for a container, pulled where its policy says so. Raises ImageError."""
        name, rule = container["image"], policy(container)
        spec = messages.ImageSpec(image=name, user_specified_image=name)
        found = await self._present(spec)
        if found is None and rule == "Never":
            text = f'Container image "{name}" is not present with pull policy of Never'
            tell("Warning", "ErrImageNeverPull", text)
            raise ImageError("ErrImageNeverPull", text, 10.0)
        if found is not None and rule != "Always":
            tell(
                "Normal",
                "Pulled",
                f'Container image "{name}" already present on machine and can be accessed by the pod',
            )
        else:
            self._hold(pod, name, tell)
            found = await self._pull(pod, spec, sandbox, await secrets(), tell)
        self.used[found.id] = time.time()
        return found

    async def _present(self, spec: Any) -> Any:
        try:
            found = await self._runtime.cri.call("ImageStatus", messages.ImageStatusRequest(image=spec))
        except CriError as e:
            raise ImageError("ImageInspectError", f'Failed to inspect image "{spec.image}": {e}', 10.0) from e
        return found.image if found.image.id else None

    def _hold(self, pod: Object, name: str, tell: Tell) -> None:
        known = self._waits.get((pod["metadata"]["uid"], name))
        if known and (left := known[0].left(time.time())):
            text = f'Back-off pulling image "{name}"'
            tell("Normal", "BackOff", text)
            tell("Warning", "Failed", "Error: ImagePullBackOff")
            raise ImageError("ImagePullBackOff", f"{text}: ErrImagePull: {known[1]}", left)

    async def _pull(self, pod: Object, spec: Any, sandbox: Any, secrets: list[Object], tell: Tell) -> Any:
        tell("Normal", "Pulling", f'Pulling image "{spec.image}"')
        asked = time.monotonic()
        key = (pod["metadata"]["uid"], spec.image)
        async with self._at_once:
            began = time.monotonic()
            with trace.span("pull image", SERVICE, peer=self._runtime.name, attributes={"image": spec.image}):
                try:
                    ref = await self._try(spec, sandbox, matching(spec.image, credentials(secrets)))
                except CriError as e:
                    raise self._failed(key, spec.image, e, tell) from e
        self._waits.pop(key, None)
        found = await self._present(messages.ImageSpec(image=ref)) or await self._present(spec)
        if found is None:
            raise ImageError(
                "ImageInspectError",
                f'Failed to inspect image "{spec.image}": not found after it was pulled',
                10.0,
            )
        now = time.monotonic()
        took = f"{_took(now - began)} ({_took(now - asked)} including waiting)"
        text = f'Successfully pulled image "{spec.image}" in {took}. Image size: {found.size} bytes.'
        tell("Normal", "Pulled", text)
        return found

    async def _try(self, spec: Any, sandbox: Any, logins: list[Credential]) -> str:
        """Pull with each login, without any where there is none; the last failure is told."""
        failure: CriError | None = None
        choices: list[Credential | None] = [*logins] or [None]
        for login in choices:
            request = messages.PullImageRequest(image=spec, sandbox_config=sandbox, auth=_auth(login))
            try:
                done = await self._runtime.cri.call("PullImage", request, timeout=TIMEOUT)
                return str(done.image_ref)
            except CriError as e:
                failure = e
        raise failure or CriError("UNKNOWN", "no pull was tried")

    def _failed(self, key: tuple[str, str], name: str, e: CriError, tell: Tell) -> ImageError:
        known = self._waits.get(key)
        self._waits[key] = (PULL.after(known[0] if known else None, time.time()), str(e))
        reason = "InvalidImageName" if e.code == "INVALID_ARGUMENT" else "ErrImagePull"
        tell("Warning", "Failed", f'Failed to pull image "{name}": {e}')
        tell("Warning", "Failed", f"Error: {reason}")
        return ImageError(reason, str(e), 1.0)

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        for key in [k for k in self._waits if k[0] == uid]:
            del self._waits[key]


def _auth(login: Credential | None) -> Any:
    if login is None:
        return None
    return messages.AuthConfig(
        username=login.username,
        password=login.password,
        identity_token=login.identity_token,
        server_address=login.match,
    )


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.3f}s"
