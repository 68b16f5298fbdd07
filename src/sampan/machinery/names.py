"""Checks of names and labels: DNS-1123 and the like. Each returns the faults found, worded as upstream's.

Sources: RFC 1123, RFC 1035, and the API concepts' page on object names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

Check = Callable[[str], list[str]]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_SERVICE = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_QUALIFIED})?"


@lru_cache(4096)
def _matches(pattern: str, text: str) -> bool:
    """The same few names come again and again."""
    return re.fullmatch(pattern, text, re.ASCII) is not None


def _too_long(limit: int, unit: str = "characters") -> str:
    return f"must be no more than {limit} {unit}"


def _described(message: str, pattern: str, *examples: str) -> str:
    """A fault with its examples and pattern, in the form that upstream's regular-expression faults have."""
    shown = " or ".join(f"'{e}', " for e in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def dns_label(name: str) -> list[str]:
    """A DNS-1123 label: what most names that become host names are."""
    faults = [_too_long(63)] if len(name) > 63 else []
    if not _matches(_LABEL, name):
        if _matches(_SUBDOMAIN, name):
            return [*faults, "must not contain dots"]
        text = (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
            "and must start and end with an alphanumeric character"
        )
        faults.append(_described(text, _LABEL, "my-name", "123-abc"))
    return faults


def dns_subdomain(name: str) -> list[str]:
    """A DNS-1123 subdomain: labels joined by dots; the name of most objects."""
    faults = [_too_long(253)] if len(name) > 253 else []
    if not _matches(_SUBDOMAIN, name):
        text = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        faults.append(_described(text, _SUBDOMAIN, "example.com"))
    return faults


def service_name(name: str) -> list[str]:
    """A DNS-1035 label, as Services are named."""
    faults = [_too_long(63)] if len(name) > 63 else []
    if not _matches(_SERVICE, name):
        text = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
            "start with an alphabetic character, and end with an alphanumeric character"
        )
        faults.append(_described(text, _SERVICE, "my-name", "abc-123"))
    return faults


def path_segment(name: str) -> list[str]:
    """A name that stands in a URL's path as it is: roles may have such names."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{c}'" for c in "/%" if c in name]


def qualified(name: str) -> list[str]:
    """A key of labels and annotations: an optional DNS subdomain and `/`, then a name of up to 63 characters."""
    faults: list[str] = []
    parts = name.split("/")
    text = (
        "must consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character"
    )
    if len(parts) > 2:
        shown = _described(f"a valid label key {text}", _QUALIFIED, "MyName", "my.name", "123-abc")
        return [f"{shown} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    if len(parts) == 2:
        prefix = parts[0]
        faults += (
            ["prefix part must be non-empty"]
            if not prefix
            else [f"prefix part {f}" for f in dns_subdomain(prefix)]
        )
    last = parts[-1]
    if not last:
        faults.append("name part must be non-empty")
    elif len(last) > 63:
        faults.append(f"name part {_too_long(63, 'bytes')}")
    if not _matches(_QUALIFIED, last):
        faults.append(f"name part {_described(text, _QUALIFIED, 'MyName', 'my.name', '123-abc')}")
    return faults


def label_value(value: str) -> list[str]:
    faults = [_too_long(63, "bytes")] if len(value) > 63 else []
    if not _matches(_VALUE, value):
        text = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character"
        )
        faults.append(_described(text, _VALUE, "MyValue", "my_value", "12345"))
    return faults


def environment_name(name: str) -> list[str]:
    """The name of an environment variable: any printable ASCII but `=` (since Kubernetes 1.34)."""
    if not name:
        return ["environment variable name must not be empty"]
    if all(" " <= c <= "~" and c != "=" for c in name):
        return []
    return [
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
    ]


def config_key(key: str) -> list[str]:
    """A key in a ConfigMap or Secret, which may become a file's name."""
    pattern = "[-._a-zA-Z0-9]+"
    faults = [_too_long(253)] if len(key) > 253 else []
    if not _matches(pattern, key):
        text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        faults.append(_described(text, pattern, "key.name", "KEY_NAME", "key-name"))
    if key == ".":
        faults.append("must not be '.'")
    elif key == "..":
        faults.append("must not be '..'")
    elif key.startswith(".."):
        faults.append("must not start with '..'")
    return faults


def port_name(name: str) -> list[str]:
    """An IANA service name: up to 15 lower case letters, digits and dashes, with one letter at least."""
    faults = [_too_long(15)] if len(name) > 15 else []
    if not _matches("[-a-z0-9]+", name):
        faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", name):
        faults.append("must contain at least one letter (a-z)")
    if "--" in name:
        faults.append("must not contain consecutive hyphens")
    if name and (name[0] == "-" or name[-1] == "-"):
        faults.append("must not begin or end with a hyphen")
    return faults


def port_number(number: int) -> list[str]:
    return [] if 1 <= number <= 65535 else ["must be between 1 and 65535, inclusive"]


def ip(text: str) -> list[str]:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def percent(text: str) -> list[str]:
    if _matches("[0-9]+%", text):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [_described(message, "[0-9]+%", "1%", "93%")]


def header_name(name: str) -> list[str]:
    pattern = "[-A-Za-z0-9]+"
    if _matches(pattern, name):
        return []
    return [
        _described(
            "a valid HTTP header must consist of alphanumeric characters or '-'", pattern, "X-Header-Name"
        )
    ]


def for_generation(check: Check) -> Check:
    """The check for a `generateName`, which may end in a dash since a suffix follows."""

    def checked(prefix: str) -> list[str]:
        return check(prefix[:-1] + "a" if prefix.endswith("-") and len(prefix) > 1 else prefix)

    return checked
