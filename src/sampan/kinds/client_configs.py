"""How the server calls others: the `clientConfig` of webhooks and of conversions.

Source: k8s.io/apiserver pkg/util/webhook/validation.go.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import urlsplit

from sampan.kinds import faults
from sampan.kinds.kind import Invalid
from sampan.machinery import names
from sampan.machinery.objects import Object

_EMPTY = "segment may not be empty"


def default(found: Object | None) -> None:
    """A service is called at port 443."""
    service = (found or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


def check(found: Object | None, path: str) -> list[Invalid]:
    found = found or {}
    if ("url" in found) == ("service" in found):
        return [faults.required(path, "exactly one of url or service is required")]
    if "url" in found:
        return _url(found["url"], f"{path}.url")
    return _service(found["service"], f"{path}.service")


def bundle(found: Object | None, path: str) -> list[Invalid]:
    """Faults of the `caBundle`."""
    text = (found or {}).get("caBundle")
    if not text:
        return []
    try:
        data = base64.b64decode(text)
    except binascii.Error:
        data = b""
    if b"-----BEGIN CERTIFICATE-----" in data:
        return []
    said = "unable to load root certificates: unable to parse bytes as PEM block"
    return [faults.invalid(f"{path}.caBundle", "", said)]


def _url(text: str, path: str) -> list[Invalid]:
    form = "; desired format: https://host[/path]"
    found = urlsplit(text)
    faults_: list[Invalid] = []
    if found.scheme != "https":
        shown = found.scheme
        faults_.append(faults.invalid(path, shown, f"'https' is the only allowed URL scheme{form}"))
    if not found.netloc:
        faults_.append(faults.invalid(path, found.netloc, f"host must be specified{form}"))
    if found.username is not None:
        faults_.append(faults.invalid(path, found.username, "user information is not permitted in the URL"))
    if found.fragment:
        faults_.append(faults.invalid(path, found.fragment, "fragments are not permitted in the URL"))
    if found.query:
        faults_.append(faults.invalid(path, found.query, "query parameters are not permitted in the URL"))
    return faults_


def _service(found: Any, path: str) -> list[Invalid]:
    faults_: list[Invalid] = []
    if not found.get("name"):
        faults_.append(faults.required(f"{path}.name", "service name is required"))
    if not found.get("namespace"):
        faults_.append(faults.required(f"{path}.namespace", "service namespace is required"))
    if wrong := names.port_number(found.get("port", 443)):
        said = "port is not valid: " + ",".join(wrong)
        faults_.append(faults.invalid(f"{path}.port", found.get("port"), said))
    where = found.get("path")
    if where is None:
        return faults_
    if not where.startswith("/"):
        faults_.append(faults.invalid(f"{path}.path", where, "must start with a '/'"))
    elif where != "/":
        for index, step in enumerate(where.strip("/").split("/")):
            wrong = [f"segment[{index}]: {w}" for w in names.dns_subdomain(step)] if step else [_EMPTY]
            faults_ += faults.each_invalid(f"{path}.path", where, wrong)
    return faults_
