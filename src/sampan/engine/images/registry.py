"""A client of the OCI distribution protocol: manifests and blobs of one repository.

Source: OCI distribution specification v1.1; Docker registry token authentication.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from sampan.engine.images.credentials import Credentials
from sampan.engine.images.model import INDEXES, MANIFESTS, ImageError, digest_of, parse
from sampan.http.client import ClientResponse, HttpClient
from sampan.machinery.images import DEFAULT_REGISTRY, Reference

_ACCEPT = ", ".join((*INDEXES, *MANIFESTS))
_MANIFEST_LIMIT = 4 << 20
_CHUNK = 32 << 20  # uploads larger than this go piece by piece
_ATTEMPTS = 5
_CHALLENGE = re.compile(r'([a-zA-Z]+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


class RegistryError(ImageError):
    """A registry refused, or did not understand."""


class NotThere(RegistryError):
    """The registry has no such repository, manifest or blob."""


class Denied(RegistryError):
    """The registry wants other credentials, or these may not do that."""


class Unreachable(RegistryError):
    """No registry answered."""


@dataclass(frozen=True, slots=True)
class Registries:
    """Where registries are found.

    `mirrors` lists URLs to ask before a registry itself ("*": before any), for pulls only; `insecure` names hosts that
    may speak plain HTTP (loopback always may); `credentials` are shown where a client brings none of its own;
    `certificates` holds `HOST/ca.crt` as Docker's certs.d; `timeout` is for each answer.
    """

    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    insecure: frozenset[str] = frozenset()
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    certificates: Path = Path("/etc/docker/certs.d")
    timeout: float = 30.0

    def before(self, registry: str) -> tuple[str, ...]:
        """The mirrors to ask before a registry."""
        return self.mirrors.get(registry) or self.mirrors.get("*", ())

    def of_mirror(self, url: str) -> Credentials | None:
        return self.credentials.get(urlsplit(url).netloc)

    def endpoints(self, registry: str) -> list[str]:
        """Base URLs to try for a registry, in order."""
        host = "registry-1.docker.io" if registry == DEFAULT_REGISTRY else registry
        own = [f"https://{host}"]
        if registry in self.insecure or _is_loopback(registry):
            own.append(f"http://{host}")
        return own

    def tls(self, url: str) -> ssl.SSLContext | None:
        """The context for a URL: the system's authorities, and the host's own `ca.crt` where there is one."""
        if not url.startswith("https"):
            return None
        context = ssl.create_default_context()
        own = self.certificates / urlsplit(url).netloc / "ca.crt"
        if own.exists():
            context.load_verify_locations(own)
        if urlsplit(url).netloc in self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _is_loopback(registry: str) -> bool:
    host = registry.rpartition(":")[0] if registry.rpartition(":")[2].isdigit() else registry
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str]:
    """Whom a URL speaks to, and how: what was told in secret is not told again in clear."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def challenge(header: str) -> tuple[str, dict[str, str]]:
    """The scheme, in lower case, and the parameters of a WWW-Authenticate header."""
    scheme, _, rest = header.strip().partition(" ")
    return scheme.lower(), {m[1].lower(): m[2] or m[3] or "" for m in _CHALLENGE.finditer(rest)}


class Repository:
    """One repository at one registry. Use as an async context manager."""

    def __init__(
        self,
        reference: Reference,
        registries: Registries | None = None,
        credentials: Credentials | None = None,
        *,
        push: bool = False,
        url: str = "",
    ):
        self.reference = reference
        self.name = reference.repository
        self._registries = registries or Registries()
        self._credentials = credentials
        self._actions = "pull,push" if push else "pull"
        self._urls = [url] if url else self._registries.endpoints(reference.registry)
        self._clients: dict[str, HttpClient] = {}
        self._authorization: dict[str, tuple[str, float]] = {}  # by scope: the header's value, and until when
        self._base = ""
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Repository:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients.values():
            await client.close()

    # Reading

    async def manifest(self, version: str) -> tuple[str, str, bytes]:
        """Media type, digest and bytes of a manifest or index, by tag or digest. Raises RegistryError."""
        target = f"/v2/{self.name}/manifests/{version}"
        async with await self._ask("GET", target, headers={"accept": _ACCEPT}) as response:
            if response.status == 404:
                said = _said(await response.read())
                raise NotThere(f"manifest for {self.reference.familiar} not found: manifest unknown: {said}")
            await self._check(response, "pull")
            data = await self._limited(response)
        digest = digest_of(data)
        if version.startswith("sha256:") and version != digest:
            raise RegistryError(
                f"{self.reference}: the registry's manifest is not what its digest says; got {digest}"
            )
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        return str(parse(data, "the manifest").get("mediaType") or media_type), digest, data

    async def head(self, version: str) -> str | None:
        """The digest that a tag has now; None where there is no such tag."""
        target = f"/v2/{self.name}/manifests/{version}"
        async with await self._ask("HEAD", target, headers={"accept": _ACCEPT}) as response:
            if response.status == 404:
                return None
            await self._check(response, "pull")
            return response.headers.get("docker-content-digest")

    async def blob(self, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        """A blob's bytes from `offset` on. Raises RegistryError, ConnectionError, TimeoutError."""
        headers = {"range": f"bytes={offset}-"} if offset else {}
        async with await self._ask("GET", f"/v2/{self.name}/blobs/{digest}", headers=headers) as response:
            if response.status == 404:
                raise NotThere(f"{self.reference.familiar}: the registry does not have blob {digest}")
            await self._check(response, "pull")
            skip = offset if response.status == 200 else 0
            async for piece in response.chunks(self._registries.timeout):
                if skip:
                    skip, piece = max(skip - len(piece), 0), piece[skip:]
                if piece:
                    yield piece

    async def has_blob(self, digest: str) -> bool:
        async with await self._ask("HEAD", f"/v2/{self.name}/blobs/{digest}") as response:
            if response.status not in (200, 404):
                await self._check(response, "push")
            return response.status == 200

    # Writing

    async def mount(self, digest: str, source: str) -> bool:
        """Have the registry take a blob from another of its repositories; False where it wants it uploaded."""
        query = urlencode({"mount": digest, "from": source})
        async with await self._ask(
            "POST", f"/v2/{self.name}/blobs/uploads/?{query}", also=source
        ) as response:
            if response.status == 202:
                await self._abandon(response)
            elif response.status != 201:
                await self._check(response, "push")
            return response.status == 201

    async def _abandon(self, response: ClientResponse) -> None:
        """Cancel the upload that a refused mount has begun; registries forget it by themselves, too."""
        if location := response.headers.get("location"):
            with suppress(RegistryError, OSError):
                await (await self._ask("DELETE", urljoin(self._base, location))).close()

    async def upload(self, digest: str, data: Path, sent: Any = None) -> None:
        """Upload a blob from a file: at once, or in chunks where it is large. `sent` is told the bytes so far."""
        size = data.stat().st_size
        async with await self._ask("POST", f"/v2/{self.name}/blobs/uploads/") as response:
            if response.status != 202:
                await self._check(response, "push")
            location = urljoin(self._base, response.headers.get("location", ""))
        offset = 0
        while size - offset > _CHUNK:
            offset, location = await self._upload_chunk(location, data, offset, sent)
        query = ("&" if "?" in location else "?") + "digest=" + quote(digest, safe="")
        headers = {"content-type": "application/octet-stream", "content-length": str(size - offset)}
        async with await self._ask(
            "PUT",
            location + query,
            headers=headers,
            body=_Piece(data, offset, size - offset, sent),
            timeout=600,
        ) as response:
            if response.status != 201:
                await self._check(response, "push")

    async def _upload_chunk(self, location: str, data: Path, offset: int, sent: Any) -> tuple[int, str]:
        """One PATCH; where the registry has another idea of where we are, go on from there."""
        headers = {
            "content-type": "application/octet-stream",
            "content-length": str(_CHUNK),
            "content-range": f"{offset}-{offset + _CHUNK - 1}",
        }
        async with await self._ask(
            "PATCH", location, headers=headers, body=_Piece(data, offset, _CHUNK, sent), timeout=600
        ) as response:
            if response.status not in (202, 416):
                await self._check(response, "push")
            end = response.headers.get("range", "").rpartition("-")[2]
            location = urljoin(self._base, response.headers.get("location", location))
        return (int(end) + 1 if end.isdigit() else offset + _CHUNK), location

    async def put_manifest(self, version: str, media_type: str, data: bytes) -> None:
        target = f"/v2/{self.name}/manifests/{version}"
        async with await self._ask(
            "PUT", target, headers={"content-type": media_type}, body=data
        ) as response:
            if response.status not in (200, 201, 202):
                await self._check(response, "push")

    # Connections and authentication

    async def _connect(self) -> str:
        """The base URL that answers; found once."""
        async with self._connecting:
            if self._base:
                return self._base
            problems = []
            for url in self._urls:
                try:
                    response = await self._client(url).request(
                        "GET", "/v2/", timeout=self._registries.timeout
                    )
                    await response.close()
                except (OSError, TimeoutError) as e:
                    problems.append(f"{url}/v2/: {str(e) or 'no answer in time'}")
                    continue
                self._base = url
                return url
            raise Unreachable(f"cannot reach registry {self.reference.registry}: {'; '.join(problems)}")

    def _client(self, url: str) -> HttpClient:
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc}"
        if base not in self._clients:
            timeout = self._registries.timeout
            self._clients[base] = HttpClient(base, tls=self._registries.tls(base), timeout=timeout)
        return self._clients[base]

    async def _ask(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | _Piece = b"",
        timeout: float | None = None,
        also: str = "",
    ) -> ClientResponse:
        """One request with authorization, which is asked for where it is missing; GET and HEAD follow redirects."""
        url = urljoin(await self._connect(), target)
        for attempt in range(_ATTEMPTS):
            home = _origin(url) == _origin(self._base)
            sent = dict(headers or {})
            if home and (authorization := self._known(also)):
                sent["authorization"] = authorization
            parts = urlsplit(url)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            try:
                response = await self._client(url).request(
                    method,
                    path,
                    headers=sent,
                    body=body if isinstance(body, bytes) else body.pieces(),
                    timeout=timeout,
                )
            except TimeoutError:
                raise Unreachable(f"registry {self.reference.registry} did not answer in time") from None
            if response.status == 401 and home and attempt == 0:
                header = response.headers.get("www-authenticate", "")
                await response.close()
                if await self._authorize(header, also):
                    continue
                raise Denied(self._denied("authentication required"))
            if response.status in (301, 302, 303, 307, 308) and method in ("GET", "HEAD"):
                url = urljoin(url, response.headers.get("location", ""))
                await response.close()
                continue
            return response
        raise RegistryError(f"registry {self.reference.registry} redirects in circles")

    def _known(self, also: str) -> str:
        value, until = self._authorization.get(also) or self._authorization.get("") or ("", 0.0)
        return value if until > time.monotonic() else ""

    async def _authorize(self, header: str, also: str) -> bool:
        """Answer a challenge; False where we have nothing to answer it with."""
        scheme, fields = challenge(header)
        mine = self._credentials
        if scheme == "basic" and mine and mine.username:
            self._authorization[also] = (mine.basic, float("inf"))
            return True
        if scheme != "bearer":
            return False
        if mine and mine.bearer:
            self._authorization[also] = (f"Bearer {mine.bearer}", float("inf"))
            return True
        scopes = [f"repository:{self.name}:{self._actions}"]
        if also:
            scopes.append(f"repository:{also}:pull")
        token, lifetime = await self._token(fields, scopes)
        self._authorization[also] = (f"Bearer {token}", time.monotonic() + max(lifetime - 10, 10))
        return True

    async def _token(self, fields: Mapping[str, str], scopes: list[str]) -> tuple[str, float]:
        """Fetch a token from the realm that a challenge names; returns it and its lifetime in seconds."""
        realm = fields.get("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise RegistryError(
                f"registry {self.reference.registry}: its challenge names no realm to ask for a token"
            )
        parts = urlsplit(realm)
        mine = self._credentials
        ask = [("service", fields.get("service", "")), *(("scope", s) for s in scopes)]
        client = self._client(realm)
        if mine and mine.identity:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": mine.identity,
                "service": fields.get("service", ""),
                "scope": " ".join(scopes),
                "client_id": "sampan",
            }
            kind = {"content-type": "application/x-www-form-urlencoded"}
            response = await client.request("POST", parts.path, headers=kind, body=urlencode(form).encode())
        else:
            query = "&".join(filter(None, (parts.query, urlencode(ask))))
            sent = {"authorization": mine.basic} if mine and mine.username else {}
            response = await client.request("GET", f"{parts.path or '/'}?{query}", headers=sent)
        async with response:
            data = await response.read()
        if response.status != 200:
            raise Denied(self._denied(_said(data) or "unauthorized"))
        raw = parse(data, "the registry's token")
        token = raw.get("token") or raw.get("access_token")
        if not token:
            raise RegistryError(f"{parts.netloc} answered without a token")
        return str(token), float(raw.get("expires_in") or 60)

    async def _check(self, response: ClientResponse, doing: str) -> None:
        """Raise what an unwelcome status means."""
        if 200 <= response.status < 300:
            return
        said = _said(await response.read())
        if response.status in (401, 403):
            raise Denied(self._denied(said, doing))
        if response.status == 404:
            raise NotThere(f"{self.reference.familiar}: {said or 'not found'}")
        if response.status == 429:
            raise RegistryError(f"toomanyrequests: {said}")
        raise RegistryError(
            f"registry {self.reference.registry} answered {response.status} to a {doing}: {said}"
        )

    def _denied(self, said: str, doing: str = "") -> str:
        name = self.reference.familiar_name
        if doing == "push" or "push" in self._actions:
            return f"denied: requested access to {name} is denied: {said}"
        return f"pull access denied for {name}, repository does not exist or may require 'docker login': denied: {said}"

    async def _limited(self, response: ClientResponse) -> bytes:
        data = b""
        async for piece in response.chunks(self._registries.timeout):
            data += piece
            if len(data) > _MANIFEST_LIMIT:
                raise RegistryError(f"{self.reference}: the manifest is larger than {_MANIFEST_LIMIT} bytes")
        return data


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a file as a request body that can be sent again."""

    path: Path
    offset: int
    length: int
    sent: Any = None

    async def pieces(self) -> AsyncIterator[bytes]:
        left = self.length
        with open(self.path, "rb") as f:
            f.seek(self.offset)
            while left:
                data = await asyncio.to_thread(f.read, min(left, 1 << 20))
                if not data:
                    raise RegistryError(f"{self.path} became shorter while it was sent")
                left -= len(data)
                yield data
                if self.sent:
                    self.sent(self.offset + self.length - left)


def _said(data: bytes) -> str:
    """The message in a registry's error body, else its beginning."""
    try:
        raw = json.loads(data)
        errors = raw.get("errors")
        if errors:
            return str(errors[0].get("message") or errors[0].get("code") or "")
        return str(raw.get("details") or raw.get("message") or raw.get("error") or "")
    except (ValueError, AttributeError, IndexError):
        return data[:200].decode(errors="replace").strip()
