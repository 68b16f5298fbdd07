"""Request bodies: JSON, YAML and protobuf to objects, and what field validation makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.client.api import ApiError
from sampan.http.messages import BodyTooLarge
from sampan.kinds import schemas
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Object

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_ACCEPTED = (JSON, YAML, PROTOBUF)
_KEY = b'":'
# Texts of YAML as long as this take a thread for some milliseconds.
LONG_YAML = 16 * 1024


async def raw(call: Call) -> bytes:
    """The body's bytes. Raises 413."""
    assert call.request is not None
    try:
        if call.data is None:
            call.data = await call.request.body()
        return call.data
    except BodyTooLarge as e:
        raise errors.too_large("3145728") from e


def media_type(call: Call) -> str:
    return call.content_type.partition(";")[0].strip().lower()


async def content(call: Call) -> Object | None:
    """The body as an object whose top may be changed, or None where there is none. Raises 400, 413, 415."""
    if call.request is None:
        return dict(call.content) if isinstance(call.content, dict) else None
    data = await raw(call)
    if not data.strip():
        return None
    found = decoded(data, media_type(call))
    note_duplicates(call, data, found)
    return found


def note_duplicates(call: Call, data: bytes, found: Any) -> None:
    """Note the fields that a JSON text says twice, where it is to be validated; the last one counts."""
    if call.parameter("fieldValidation") == "Ignore" or data[:1] not in b"{[ \t\r\n":
        return
    # Each key is followed by a colon: where as many stand in what was read, none was said twice.
    if data.count(_KEY) == orjson.dumps(found).count(_KEY):
        return
    from sampan.machinery import duplicates

    call.duplicates = duplicates.fields(data)


def decoded(data: bytes, kind: str) -> Object:
    """Bytes of a media type as an object; one that is not named counts as JSON."""
    if data.startswith(b"k8s\x00") or kind == PROTOBUF:
        found: Any = _protobuf(data)
    elif kind in (
        JSON,
        "",
        "*/*",
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/json-patch+json",
    ):
        found = json(data)
    elif kind in (YAML, "text/yaml", "application/x-yaml"):
        found = yaml(data)
    else:
        raise errors.unsupported_media(kind, _ACCEPTED)
    if not isinstance(found, dict):
        raise errors.bad_request("couldn't get version/kind; json parse error: the body is not an object")
    return found


def json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as e:
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {e}") from e


async def patch_of_yaml(call: Call) -> Any:
    """An apply configuration: YAML, which mostly is JSON; a long text is parsed off the loop. Raises 400, 413."""
    data = await raw(call)
    if data[:1] == b"{":
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
        else:
            note_duplicates(call, data, found)
            return found
    return await _off_the_loop(data, _yaml_for(call))


async def _off_the_loop(data: bytes, read: Callable[[bytes], Any]) -> Any:
    return read(data) if len(data) < LONG_YAML else await asyncio.to_thread(read, data)


def _yaml_for(call: Call) -> Callable[[bytes], Any]:
    """Reads YAML, and complains of keys that come twice as loudly as the request asks for."""
    from sampan.machinery import yaml as yaml_

    validation = call.parameter("fieldValidation") or "Warn"

    def read(data: bytes) -> Any:
        found = yaml(data)
        wrong = yaml_.repeated(data) if validation in ("Strict", "Warn") else []
        if wrong:
            text = "\n  ".join(["yaml: unmarshal errors:", *wrong])
            if validation == "Strict":
                raise errors.bad_request(f"error strict decoding patch: {text}")
            call.warnings.append(text)
        return found

    return read


def yaml(data: bytes) -> Any:
    from sampan.machinery import yaml as yaml_

    try:
        return yaml_.load(data)
    except yaml_.YamlError as e:
        raise errors.bad_request(f"error converting YAML to JSON: {e}") from e


def _protobuf(data: bytes) -> Object:
    from sampan.machinery import protobuf

    try:
        found: Object = protobuf.decode(data)
    except protobuf.ProtobufError as e:
        raise errors.bad_request(f"the body is not a Kubernetes protobuf message: {e}") from e
    return found


async def body(call: Call, kind: Kind) -> Object:
    """The body as an object of `kind` in the form that is stored, which may be changed. Raises 400."""
    obj = await content(call)
    if obj is None:
        raise errors.bad_request("the body of the request is empty: an object was expected")
    check_kind(obj, kind)
    return typed(call, obj, kind)


def _undeclared(call: Call, kind: Kind, faults: Sequence[str]) -> ApiError:
    paths = [fault.removeprefix('unknown field "').rstrip('"') for fault in faults]
    wrong = [f".{path}: field not declared in schema" for path in paths]
    said = wrong[0] if len(wrong) == 1 else "\n  ".join(["errors:", *wrong])
    name = f"{call.namespace}/{call.name}; {kind.api_version}, Kind={kind.kind}"
    return errors.error(500, "", f"failed to create typed patch object ({name}): {said}")


def check_kind(obj: Object, kind: Kind) -> None:
    """Raises 400 where the object says to be of another kind; fills in what it does not say."""
    version, name = obj.setdefault("apiVersion", kind.api_version), obj.setdefault("kind", kind.kind)
    if name != kind.kind or version != kind.api_version:
        raise errors.bad_request(
            f"the API version in the data ({version}, Kind={name}) does not match the expected API version "
            f"({kind.api_version}, Kind={kind.kind})"
        )


def typed(call: Call, obj: Object, kind: Kind, *, applied: bool = False) -> Object:
    """The object as its schema has it; what the schema does not know is refused, warned of, or dropped in silence.

    What is `applied` comes to be owned field by field, so each must be one that the schema knows.
    Source: the API concepts' "Field validation". Raises 400, and 500 for what is applied.
    """
    begin = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
    try:
        found = schemas.decode_of(kind, obj)
    except schemas.DecodeError as e:
        raise errors.bad_request(f"{begin}{e}") from e
    if applied and found.faults:
        raise _undeclared(call, kind, found.faults)
    found.obj.setdefault("metadata", {})
    wrong = [*found.faults, *(f'duplicate field "{path}"' for path in call.duplicates)]
    if wrong:
        validation = call.parameter("fieldValidation") or "Warn"
        if validation == "Strict":
            raise errors.bad_request(f"{begin}strict decoding error: {', '.join(wrong)}")
        if validation == "Warn":
            call.warnings += [f for f in wrong if f not in call.warnings]
    return found.obj
