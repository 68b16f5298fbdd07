"""What a token says, as a user: validation rules and mappings. Plain decisions."""

from __future__ import annotations

from collections.abc import Mapping as Map
from typing import Any

from sampan.apiserver.call import User
from sampan.apiserver.oidc.configuration import Issuer, Mapping, Rule
from sampan.machinery.cel import EvaluationError


class Refused(Exception):
    """The claims make no user; the text says why."""


def user(issuer: Issuer, claims: Map[str, Any]) -> User:
    """The user whom claims make. Raises Refused."""
    variables = {"claims": dict(claims)}
    for rule in issuer.claim_rules:
        _hold(rule, variables, claims, "validation expression")
    if issuer.username.claim == "email" and claims.get("email_verified") is False:
        raise Refused("oidc: email not verified")
    name = _text(issuer.username, variables, claims, "username")
    if not name:
        raise Refused("the username is empty")
    found: dict[str, Any] = {
        "username": name,
        "groups": _texts(issuer.groups, variables, claims),
        "uid": _text(issuer.uid, variables, claims, "uid") if issuer.uid.there else "",
        "extra": {key: _listed(program.evaluate(variables)) for key, program in issuer.extra},
    }
    for rule in issuer.user_rules:
        _hold(rule, {"user": found}, claims, "user validation expression")
    extra = {k: tuple(v) for k, v in found["extra"].items() if v}
    return User(name, (*found["groups"], "system:authenticated"), found["uid"], extra)


def _hold(rule: Rule, variables: dict[str, Any], claims: Map[str, Any], what: str) -> None:
    if rule.expression is None:
        if claims.get(rule.claim) != rule.value:
            raise Refused(f"claim {rule.claim} is not {rule.value!r}")
        return
    try:
        held = rule.expression.evaluate(variables)
    except EvaluationError as e:
        raise Refused(f"{what} '{rule.expression.source}' resulted in error: {e}") from e
    if held is not True:
        raise Refused(rule.message or f"{what} '{rule.expression.source}' failed")


def _value(mapping: Mapping, variables: dict[str, Any], claims: Map[str, Any], what: str) -> Any:
    if mapping.expression is None:
        return claims.get(mapping.claim)
    try:
        return mapping.expression.evaluate(variables)
    except EvaluationError as e:
        raise Refused(f"the expression of {what} resulted in error: {e}") from e


def _text(mapping: Mapping, variables: dict[str, Any], claims: Map[str, Any], what: str) -> str:
    found = _value(mapping, variables, claims, what)
    if not isinstance(found, str):
        raise Refused(f"the claim of {what} is no text, or not there")
    return mapping.prefix + found


def _texts(mapping: Mapping, variables: dict[str, Any], claims: Map[str, Any]) -> list[str]:
    if not mapping.there:
        return []
    return [mapping.prefix + text for text in _listed(_value(mapping, variables, claims, "groups"))]


def _listed(found: Any) -> list[str]:
    listed = [found] if isinstance(found, str) else found or []
    if not isinstance(listed, list) or not all(isinstance(v, str) for v in listed):
        raise Refused("a claim is neither a text nor a list of texts")
    return [v for v in listed if v]
