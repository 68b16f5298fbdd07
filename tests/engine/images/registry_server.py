"""A registry for tests: the OCI distribution specification over real sockets, with tokens, TLS, and faults on order.

Made on Python's own HTTP server, so that it shares nothing with what it tests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import sys
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Registry:
    """What it holds, how it behaves, and what it was asked.

    `auth` is "", "basic" or "bearer"; `cut` ends so many blob downloads after half their bytes; `redirect` sends blob
    downloads to another path; `ignore_ranges` answers a range with the whole.
    """

    auth: str = ""
    users: dict[str, str] = field(default_factory=lambda: {"ann": "secret"})
    cut: int = 0
    redirect: bool = False
    ignore_ranges: bool = False
    mounts: bool = True
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)  # by repository, then digest
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    tokens: dict[str, list[str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    host: str = ""

    def serve(self, certificate: tuple[Path, Path] | None = None, address: str = "") -> Registry:
        registry = self

        class Handler(_Handler):
            here = registry
            scheme = "https" if certificate else "http"

        self._server = _Server((address or "127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"{address or 'localhost'}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError):  # clients may leave
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    here: Registry
    scheme = "http"
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def fail(self, status: int, code: str, message: str, **headers: str) -> None:
        self.answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), **headers)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def allowed(self, repository: str, action: str) -> bool:
        sent = self.headers.get("Authorization", "")
        if self.here.auth == "basic":
            good = [base64.b64encode(f"{u}:{p}".encode()).decode() for u, p in self.here.users.items()]
            if sent.removeprefix("Basic ") in good:
                return True
            self.fail(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate='Basic realm="test"')
            return False
        if self.here.auth == "bearer":
            scopes = self.here.tokens.get(sent.removeprefix("Bearer "), [])
            if any(s.startswith(f"repository:{repository}:") and action in s for s in scopes):
                return True
            realm = f'{self.scheme}://{self.here.host}/token",service="test",scope="repository:{repository}:{action}'
            self.fail(
                401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=f'Bearer realm="{realm}"'
            )
            return False
        return True

    def handle_one(self) -> None:
        parts = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.here.requests.append(f"{self.command} {parts.path}")
        if parts.path == "/token":
            return self.token(parse_qs(parts.query).get("scope", []))
        if parts.path in ("/v2/", "/v2"):
            if not self.here.auth:
                return self.answer(200, b"{}")
            return self.answer(200) if self.allowed("", "pull") else None
        if match := re.fullmatch(r"/cdn/(.+)/(sha256:.+)", parts.path):
            assert "Authorization" not in self.headers or self.here.redirect
            return self.blob(match[1], match[2])
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs/uploads|blobs)/(.*)", parts.path)
        if not match:
            return self.fail(404, "NAME_UNKNOWN", "no such page")
        repository, what, rest = match[1], match[2], match[3]
        data = self.body() if self.command in ("PUT", "POST", "PATCH") else b""
        if not self.allowed(repository, "pull" if self.command in ("GET", "HEAD") else "push"):
            return None
        if what == "manifests":
            return self.manifest(repository, rest, data)
        if what == "blobs":
            if self.here.redirect and self.command == "GET":
                return self.answer(307, Location=f"/cdn/{repository}/{rest}")
            return self.blob(repository, rest)
        return self.upload(repository, rest, query, data)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_one

    def token(self, scopes: list[str]) -> None:
        sent = self.headers.get("Authorization", "")
        user, _, password = base64.b64decode(sent.removeprefix("Basic ") or "").decode().partition(":")
        if self.here.users.get(user) != password:
            if user:
                return self.fail(401, "UNAUTHORIZED", "incorrect username or password")
            scopes = [s for s in scopes if ":public/" in s]
        token = uuid.uuid4().hex
        self.here.tokens[token] = scopes
        return self.answer(200, json.dumps({"token": token, "expires_in": 300}).encode())

    def manifest(self, repository: str, version: str, data: bytes) -> None:
        if self.command == "PUT":
            raw = json.loads(data)
            for part in [raw.get("config"), *raw.get("layers", [])]:
                if part and part["digest"] not in self.here.blobs.get(repository, {}):
                    return self.fail(404, "MANIFEST_BLOB_UNKNOWN", f"blob unknown: {part['digest']}")
            for name in (version, sha(data)):
                self.here.manifests[repository, name] = (self.headers["Content-Type"], data)
            return self.answer(201, Docker_Content_Digest=sha(data))
        found = self.here.manifests.get((repository, version))
        if not found:
            return self.fail(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return self.answer(200, found[1], Content_Type=found[0], Docker_Content_Digest=sha(found[1]))

    def blob(self, repository: str, digest: str) -> None:
        data = self.here.blobs.get(repository, {}).get(digest)
        if data is None:
            return self.fail(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if self.command == "HEAD":
            return self.answer(200, data)
        first = 0
        if (wanted := self.headers.get("Range")) and not self.here.ignore_ranges:
            first = int(wanted.removeprefix("bytes=").partition("-")[0])
        if self.here.cut > 0 and len(data) > 1000:
            self.here.cut -= 1
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(data) - first))
            self.end_headers()
            self.wfile.write(data[first : first + (len(data) - first) // 2])
            self.close_connection = True
            return None
        return self.answer(206 if first else 200, data[first:])

    def upload(self, repository: str, name: str, query: dict[str, str], data: bytes) -> None:
        blobs = self.here.blobs.setdefault(repository, {})
        if self.command == "POST" and "mount" in query and self.here.mounts:
            found = self.here.blobs.get(query.get("from", ""), {}).get(query["mount"])
            if found is not None:
                blobs[query["mount"]] = found
                return self.answer(201, Location=f"/v2/{repository}/blobs/{query['mount']}")
        if self.command == "POST":
            name = uuid.uuid4().hex
            self.here.uploads[name] = bytearray()
            return self.answer(202, Location=f"/v2/{repository}/blobs/uploads/{name}?state=1")
        if name not in self.here.uploads:
            return self.fail(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown")
        if self.command == "DELETE":
            del self.here.uploads[name]
            return self.answer(204)
        self.here.uploads[name] += data
        if self.command == "PATCH":
            where = f"/v2/{repository}/blobs/uploads/{name}?state=2"
            return self.answer(202, Location=where, Range=f"0-{len(self.here.uploads[name]) - 1}")
        whole = bytes(self.here.uploads.pop(name))
        if sha(whole) != query["digest"]:
            return self.fail(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        blobs[query["digest"]] = whole
        return self.answer(201, Location=f"/v2/{repository}/blobs/{query['digest']}")
