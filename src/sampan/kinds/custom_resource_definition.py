"""CustomResourceDefinition (apiextensions.k8s.io/v1): a kind of the user's own. `kinds.custom` makes a Kind of it.

What is the same for all versions is told of as of the whole: `spec.validation` is what `spec.versions[0].schema` would
be, as upstream has it. Source: k8s.io/apiextensions-apiserver pkg/apis/apiextensions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sampan.kinds import client_configs, faults, schemas, strategy
from sampan.kinds.columns import CREATED_AT, NAME
from sampan.kinds.custom.definitions import established
from sampan.kinds.kind import Invalid, Kind
from sampan.kinds.metadata import checked as metadata_checked
from sampan.kinds.schemas import Decoded
from sampan.machinery import names
from sampan.machinery.objects import Object, get

GROUP = "apiextensions.k8s.io"
PROPS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
APPROVED = "api-approved.kubernetes.io"
_SEE = "https://github.com/kubernetes/enhancements/pull/1111"
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_FORMATS = ("binary", "bool", "byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_REVIEWS = ("v1", "v1beta1")
MOST_FIELDS = 8
# What versions share is told of under these names.
_SHARED = {"schema": "validation"}


def _decode(obj: Object) -> Decoded:
    found = schemas.decode(obj, GROUP, "v1", "CustomResourceDefinition")
    for index, version in enumerate(get(found.obj, "spec.versions", ())):
        schema = get(version, "schema.openAPIV3Schema")
        if schema is not None:
            _finish(schema, f"spec.versions[{index}].schema.openAPIV3Schema", found.unknown)
    return found


def _finish(schema: Object, path: str, unknown: list[str]) -> None:
    """Decode, in place, what the shipped definitions leave open in a schema: items and additional properties."""
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            at = f"{path}.{name}"
            schema[name] = schemas.decode_part(schema[name], PROPS, at, "CustomResourceDefinition", unknown)
            _finish(schema[name], at, unknown)
    for name, inner in (schema.get("properties") or {}).items():
        _finish(inner, f"{path}.properties[{name}]", unknown)
    for name in ("allOf", "anyOf", "oneOf"):
        for index, inner in enumerate(schema.get(name) or ()):
            _finish(inner, f"{path}.{name}[{index}]", unknown)
    if isinstance(schema.get("not"), dict):
        _finish(schema["not"], f"{path}.not", unknown)


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    found = spec.setdefault("names", {})
    if kind := found.get("kind"):
        found["singular"] = found.get("singular") or kind.lower()
        found["listKind"] = found.get("listKind") or f"{kind}List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    client_configs.default(get(conversion, "webhook.clientConfig"))
    if not spec.get("preserveUnknownFields"):
        spec.pop("preserveUnknownFields", None)


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    if subresource == "status":
        strategy.keep_all_but_status(obj, old or {})
        return
    obj["status"] = dict((old or {}).get("status") or {})
    strategy.count_generation(obj, old)
    stored = list(obj["status"].get("storedVersions") or ())
    wanted = next((v.get("name") for v in get(obj, "spec.versions", ()) if v.get("storage")), None)
    if wanted and wanted not in stored:
        stored.append(wanted)
    obj["status"]["storedVersions"] = stored


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec, status = obj["spec"], obj.get("status") or {}
    found = _metadata(obj, old)
    found += _names_of_group(spec)
    found += [*_versions(spec, old), *_names(spec.get("names") or {}, "spec.names", needed=True)]
    found += _conversion(spec.get("conversion") or {}, old)
    found += _names(status.get("acceptedNames") or {}, "status.acceptedNames")
    found += _stored(status.get("storedVersions") or [], spec.get("versions") or [])
    found += _approval(obj, old)
    if spec.get("preserveUnknownFields") and not get(old or {}, "spec.preserveUnknownFields"):
        said = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        found.append(faults.invalid("spec.preserveUnknownFields", True, said))
    if old is not None:
        found += _immutable(spec, old)
    return found


def _metadata(obj: Object, old: Object | None) -> list[Invalid]:
    name = obj["metadata"].get("name", "")
    wanted = f"{get(obj, 'spec.names.plural', '')}.{get(obj, 'spec.group', '')}"
    if old is not None or name == wanted:
        return []
    return [faults.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')]


def _names_of_group(spec: Object) -> list[Invalid]:
    group = spec.get("group", "")
    found: list[Invalid] = []
    if not group:
        found.append(faults.required("spec.group"))
    elif wrong := names.dns_subdomain(group):
        found.append(faults.invalid("spec.group", group, ",".join(wrong)))
    elif "." not in group:
        found.append(faults.invalid("spec.group", group, "should be a domain with at least one dot"))
    return found + faults.one_of("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"), needed=True)


def _immutable(spec: Object, old: Object) -> list[Invalid]:
    before = old["spec"]
    found: list[Invalid] = []
    if established(old):
        found += faults.immutable("spec.scope", spec.get("scope"), before.get("scope"))
        found += faults.immutable("spec.names.kind", get(spec, "names.kind"), get(before, "names.kind"))
    found += faults.immutable("spec.group", spec.get("group"), before.get("group"))
    return found + faults.immutable(
        "spec.names.plural", get(spec, "names.plural"), get(before, "names.plural")
    )


# Versions


def _versions(spec: Object, old: Object | None) -> Iterator[Invalid]:
    versions = spec.get("versions") or []
    seen = [v.get("name", "") for v in versions]
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        if wrong := names.service_name(version.get("name", "")):
            yield faults.invalid(f"{path}.name", version.get("name", ""), ",".join(wrong))
        if get(version, "schema.openAPIV3Schema") is None:
            yield faults.required(f"{path}.schema.openAPIV3Schema")
        for said in _deprecation(version):
            yield faults.invalid(f"{path}.deprecationWarning", version.get("deprecationWarning"), said)
        unchanged = old is not None and get(_version(old, version.get("name", "")), "schema") == version.get(
            "schema"
        )
        yield from _version_faults(spec, version, index, unchanged)
    if len(set(seen)) != len(seen):
        yield faults.invalid("spec.versions", versions, "must contain unique version names")
    if sum(bool(v.get("storage")) for v in versions) != 1:
        yield faults.invalid(
            "spec.versions", versions, "must have exactly one version marked as storage version"
        )


def _version(definition: Object, name: str) -> Object:
    return next((v for v in get(definition, "spec.versions", ()) if v.get("name") == name), {})


def _version_faults(spec: Object, version: Object, index: int, unchanged: bool) -> Iterator[Invalid]:
    status = "status" in (version.get("subresources") or {})
    schema = get(version, "schema.openAPIV3Schema")
    from sampan.kinds.custom import schemas as custom_schemas

    if (path := _path(spec, "schema", index)) and schema is not None:
        yield from custom_schemas.check(schema, f"{path}.openAPIV3Schema", status, unchanged)
    if (path := _path(spec, "subresources", index)) and (scale := get(version, "subresources.scale")):
        yield from _scale(scale, f"{path}.scale")
    if path := _path(spec, "additionalPrinterColumns", index):
        for place, column in enumerate(version.get("additionalPrinterColumns") or ()):
            yield from _column(column, f"{path}[{place}]")
    if (path := _path(spec, "selectableFields", index)) and schema is not None:
        yield from _fields(version.get("selectableFields") or (), schema, path)


def _path(spec: Object, name: str, index: int) -> str:
    """Where a version's part is told of; empty where an earlier version has the same for all."""
    first, *others = [v.get(name) for v in spec["versions"]]
    if any(o != first for o in others):
        return f"spec.versions[{index}].{name}"
    return "" if index else f"spec.{_SHARED.get(name, name)}"


def _deprecation(version: Object) -> list[str]:
    text = version.get("deprecationWarning")
    if text is None:
        return []
    if not version.get("deprecated"):
        return ["can only be set for deprecated versions"]
    found = []
    if len(text.encode()) > 256:
        found.append("must be <= 256 characters long")
    if not text:
        found.append("must not be an empty string")
    at = next((i for i, c in enumerate(text) if not c.isprintable()), None)
    if at is not None:
        found.append(
            f"must only contain printable UTF-8 characters; non-printable character found at index {at}"
        )
    return found


def _simple_path(text: str, path: str) -> list[Invalid]:
    if text.startswith("."):
        return []
    return [faults.invalid(path, text, "must be a simple json path starting with .")]


def _scale(scale: Object, path: str) -> Iterator[Invalid]:
    for name, root in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        at, text = f"{path}.{name}", scale.get(name) or ""
        if not text:
            yield faults.required(at)
        elif wrong := _simple_path(text, at):
            yield from wrong
        elif not text.startswith(f"{root}."):
            yield faults.invalid(at, text, f"should be a json path under {root}")
    if text := scale.get("labelSelectorPath"):
        at = f"{path}.labelSelectorPath"
        if wrong := _simple_path(text, at):
            yield from wrong
        elif not text.startswith((".spec.", ".status.")):
            yield faults.invalid(at, text, "should be a json path under either .spec or .status")


def _column(column: Object, path: str) -> Iterator[Invalid]:
    kinds, formats = f"must be one of {','.join(_COLUMN_TYPES)}", f"must be one of {','.join(_FORMATS)}"
    if not column.get("name"):
        yield faults.required(f"{path}.name")
    if not column.get("type"):
        yield faults.required(f"{path}.type", kinds)
    elif column["type"] not in _COLUMN_TYPES:
        yield faults.invalid(f"{path}.type", column["type"], kinds)
    if column.get("format") and column["format"] not in _FORMATS:
        yield faults.invalid(f"{path}.format", column["format"], formats)
    if not column.get("jsonPath"):
        yield faults.required(f"{path}.JSONPath")
    else:
        yield from _simple_path(column["jsonPath"], f"{path}.JSONPath")


def _fields(fields: Any, schema: Object, path: str) -> Iterator[Invalid]:
    from sampan.kinds.custom.schemas import field_at

    seen: set[str] = set()
    for index, said in enumerate(fields):
        at, text = f"{path}[{index}].jsonPath", said.get("jsonPath") or ""
        if not text:
            yield faults.required(at)
            continue
        found, why = field_at(text, schema, brackets=False)
        if why:
            yield faults.invalid(at, text, f"is an invalid path: {why}")
            continue
        if text.startswith(".metadata"):
            yield faults.invalid(at, text, "must not point to fields in metadata")
        if (found or {}).get("type") not in ("string", "boolean", "integer"):
            kinds = "must point to a field of type string, boolean or integer."
            yield faults.invalid(
                at, text, f"{kinds} Enum string fields and strings with formats are allowed."
            )
        if text in seen:
            yield faults.duplicate(at, text)
        seen.add(text)
    if len(seen) > MOST_FIELDS:
        yield faults.too_many(path, len(seen), MOST_FIELDS)


# Names, conversion, and what the status says


def _names(found: Object, path: str, needed: bool = False) -> Iterator[Invalid]:
    mixed = "may have mixed case, but should otherwise match: "
    for name in ("plural", "singular", "kind", "listKind"):
        value = found.get(name) or ""
        if not value:
            if needed:
                yield faults.required(f"{path}.{name}")
            continue
        cased = name in ("kind", "listKind")
        if wrong := names.service_name(value.lower() if cased else value):
            yield faults.invalid(f"{path}.{name}", value, (mixed if cased else "") + ",".join(wrong))
    for name in ("shortNames", "categories"):
        for index, value in enumerate(found.get(name) or ()):
            if wrong := names.service_name(value):
                yield faults.invalid(f"{path}.{name}[{index}]", value, ",".join(wrong))
    if found.get("kind") and found.get("kind") == found.get("listKind"):
        yield faults.invalid(f"{path}.listKind", found["listKind"], "kind and listKind may not be the same")


def _conversion(found: Object, old: Object | None) -> Iterator[Invalid]:
    path = "spec.conversion"
    yield from faults.one_of(f"{path}.strategy", found.get("strategy"), ("None", "Webhook"), needed=True)
    webhook = found.get("webhook")
    if found.get("strategy") != "Webhook":
        if webhook:
            said = "should not be set when strategy is not set to Webhook"
            yield faults.forbidden(f"{path}.webhookClientConfig", said)
        return
    config = (webhook or {}).get("clientConfig")
    if not config:
        yield faults.required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook")
    else:
        yield from client_configs.check(config, f"{path}.webhookClientConfig")
        if old is not None and established(old):
            yield from client_configs.bundle(config, f"{path}.webhookClientConfig")
    yield from _reviews(
        (webhook or {}).get("conversionReviewVersions") or [], f"{path}.conversionReviewVersions"
    )


def _reviews(versions: list[str], path: str) -> Iterator[Invalid]:
    if not versions:
        yield faults.required(path)
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield faults.invalid(f"{path}[{index}]", version, "duplicate version")
        else:
            yield from faults.each_invalid(f"{path}[{index}]", version, names.service_name(version))
    if not set(versions) & set(_REVIEWS):
        yield faults.invalid(path, versions, f"must include at least one of {', '.join(_REVIEWS)}")


def _stored(stored: list[str], versions: list[Object]) -> Iterator[Invalid]:
    path = "status.storedVersions"
    if not stored:
        yield faults.invalid(path, stored, "must have at least one stored version")
        return
    known = [v.get("name") for v in versions]
    for version in versions:
        if version.get("storage") and version.get("name") not in stored:
            yield faults.invalid(path, stored, f"must have the storage version {version.get('name')}")
    for index, name in enumerate(stored):
        if name not in known:
            said = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                "spec.versions until a storage migration ensures no data remains persisted in "
                f"{name} and removes {name} from status.storedVersions"
            )
            yield faults.invalid(f"{path}[{index}]", name, said)


def _approval(obj: Object, old: Object | None) -> list[Invalid]:
    """Groups of the Kubernetes community need the approval of its reviewers."""
    group = obj["spec"].get("group", "")
    if not re.search(r"(^|\.)(k8s|kubernetes)\.io$", group):
        return []
    text = _approved(obj)
    if old is not None and _approved(old) == text:
        return []
    path = f"metadata.annotations[{APPROVED}]"
    if not text:
        said = f'protected groups must have approval annotation "{APPROVED}", see {_SEE}'
        return [faults.required(path, said)]
    if text.startswith("unapproved") or re.match(r"https?://[^/]+", text):
        return []
    said = (
        f'protected groups must have approval annotation "{APPROVED}" with either a URL or a reason starting with '
        f'"unapproved", see {_SEE}'
    )
    return [faults.invalid(path, text, said)]


def _approved(obj: Object) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(APPROVED) or "")


KIND = Kind(
    group=GROUP,
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=("status",),
    columns=(NAME, CREATED_AT),
    default=_default,
    prepare=_prepare,
    validate=metadata_checked(_validate, namespaced=False, core=False),
    decode=_decode,
)
