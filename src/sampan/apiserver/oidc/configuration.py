"""The file: AuthenticationConfiguration (apiserver.config.k8s.io)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sampan.machinery.cel import CompileError, Program, compile_, types
from sampan.machinery.objects import Object, get

VERSIONS = tuple(f"apiserver.config.k8s.io/{v}" for v in ("v1", "v1beta1"))
_CLAIMS = types.map_of(types.STRING, types.DYN)
_USER = types.object_of(
    "kubernetes.UserInfo",
    {
        "username": types.Field(types.STRING, "username"),
        "uid": types.Field(types.STRING, "uid"),
        "groups": types.Field(types.list_of(types.STRING), "groups"),
        "extra": types.Field(types.map_of(types.STRING, types.list_of(types.STRING)), "extra"),
    },
)


class Unusable(ValueError):
    """The file cannot be used; the text says why, and where."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """How a claim becomes a part of the user: by an expression, or by name with a prefix."""

    claim: str = ""
    prefix: str = ""
    expression: Program | None = None

    @property
    def there(self) -> bool:
        return bool(self.claim or self.expression)


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold of claims or of the user."""

    claim: str = ""
    value: str = ""
    expression: Program | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    url: str
    discovery: str = ""
    authority: bytes | None = None
    audiences: tuple[str, ...] = ()
    username: Mapping = Mapping()
    groups: Mapping = Mapping()
    uid: Mapping = Mapping()
    extra: tuple[tuple[str, Program], ...] = ()
    claim_rules: tuple[Rule, ...] = ()
    user_rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    issuers: tuple[Issuer, ...] = field(default=())


def load(path: Path) -> Configuration:
    """Raises Unusable."""
    from sampan.machinery import yaml

    try:
        found = yaml.load(path.read_bytes())
    except OSError as e:
        raise Unusable(f"{path} cannot be read: {e.strerror}") from e
    except ValueError as e:
        raise Unusable(f"{path} is no authentication configuration: {e}") from e
    try:
        return parse(found)
    except ValueError as e:
        raise Unusable(f"{path} is no authentication configuration: {e}") from e


def parse(found: Any) -> Configuration:
    """Raises Unusable, which names the field."""
    if not isinstance(found, dict) or found.get("kind") != "AuthenticationConfiguration":
        raise Unusable("kind must be AuthenticationConfiguration")
    if found.get("apiVersion") not in VERSIONS:
        raise Unusable(f"apiVersion must be {VERSIONS[0]}, not {found.get('apiVersion')!r}")
    if unknown := set(found) - {"apiVersion", "kind", "jwt"}:
        raise Unusable(f"{min(unknown)}: is not supported")
    issuers = tuple(_issuer(j, f"jwt[{n}]") for n, j in enumerate(found.get("jwt") or ()))
    if len({i.url for i in issuers}) != len(issuers):
        raise Unusable("jwt: each issuer's url must be its own")
    return Configuration(issuers)


def _issuer(jwt: Object, path: str) -> Issuer:
    issuer = jwt.get("issuer") or {}
    for name in ("url", "discoveryURL"):
        text = issuer.get(name)
        if text and urlsplit(text).scheme != "https":
            raise Unusable(f"{path}.issuer.{name}: URL scheme must be https")
    if not issuer.get("url"):
        raise Unusable(f"{path}.issuer.url: Required value: URL is required")
    audiences = tuple(issuer.get("audiences") or ())
    if not audiences:
        raise Unusable(
            f"{path}.issuer.audiences: Required value: at least one jwt.issuer.audiences is required"
        )
    mappings, at = jwt.get("claimMappings") or {}, f"{path}.claimMappings"
    username = _mapping(mappings.get("username") or {}, f"{at}.username", prefixed=True)
    if not username.there:
        raise Unusable(f"{at}.username: Required value: claim or expression is required")
    authority = issuer.get("certificateAuthority")
    return Issuer(
        url=issuer["url"],
        discovery=issuer.get("discoveryURL") or "",
        authority=authority.encode() if authority else None,
        audiences=audiences,
        username=username,
        groups=_mapping(mappings.get("groups") or {}, f"{at}.groups", prefixed=True),
        uid=_mapping(mappings.get("uid") or {}, f"{at}.uid"),
        extra=tuple(_extra(e, f"{at}.extra[{n}]") for n, e in enumerate(mappings.get("extra") or ())),
        claim_rules=tuple(
            _rule(r, f"{path}.claimValidationRules[{n}]", {"claims": _CLAIMS})
            for n, r in enumerate(jwt.get("claimValidationRules") or ())
        ),
        user_rules=tuple(
            _rule(r, f"{path}.userValidationRules[{n}]", {"user": _USER})
            for n, r in enumerate(jwt.get("userValidationRules") or ())
        ),
    )


def _mapping(found: Object, path: str, *, prefixed: bool = False) -> Mapping:
    claim, text = found.get("claim") or "", found.get("expression") or ""
    if claim and text:
        raise Unusable(f'{path}: Invalid value: "": claim and expression can\'t both be set')
    if prefixed and claim and found.get("prefix") is None:
        said = "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
        raise Unusable(f"{path}.prefix: Required value: {said}")
    expression = _compiled(text, f"{path}.expression", {"claims": _CLAIMS}) if text else None
    return Mapping(claim, found.get("prefix") or "", expression)


def _extra(found: Object, path: str) -> tuple[str, Program]:
    key = found.get("key") or ""
    if "/" not in key or key != key.lower():
        raise Unusable(f"{path}.key: Invalid value: {key!r}: must be a domain-prefixed path in lower case")
    return key, _compiled(found.get("valueExpression") or "", f"{path}.valueExpression", {"claims": _CLAIMS})


def _rule(found: Object, path: str, variables: dict[str, types.Type]) -> Rule:
    text = found.get("expression") or ""
    if text:
        program = _compiled(text, f"{path}.expression", variables)
        if program.type not in (types.BOOL, types.DYN):
            raise Unusable(f"{path}.expression: must evaluate to bool")
        return Rule("", "", program, found.get("message") or "")
    if not found.get("claim"):
        raise Unusable(f"{path}: Required value: claim or expression is required")
    return Rule(found["claim"], get(found, "requiredValue", ""))


def _compiled(text: str, path: str, variables: dict[str, types.Type]) -> Program:
    try:
        return compile_(text, variables)
    except CompileError as e:
        raise Unusable(f"{path}: Invalid value: {text!r}: compilation failed: {e}") from e
