"""Checks of names, with the wording that users know."""

from __future__ import annotations

import pytest

from sampan.machinery import images, names


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.dns_label, ["a", "my-name", "123-abc"], ["", "A", "-a", "a-", "a.b", "a" * 64, "a_b"]),
        (names.dns_subdomain, ["a", "example.com", "a-b.c1"], ["", "A", ".a", "a..b", "a" * 254]),
        (names.service_name, ["a", "web-1"], ["1a", "web.x", "-"]),
        (
            names.qualified,
            ["a", "A_b.c", "example.com/MyName"],
            ["", "/a", "a/", "a/b/c", "-a", "UP.com/a", "a" * 64],
        ),
        (names.label_value, ["", "a", "A_b.c"], ["-a", "a b", "a" * 64]),
        (names.config_key, ["a", "A.b_c-1"], ["", "..", ".", "..a", "a/b", "a b"]),
        (names.port_name, ["http", "http-1", "a" * 15], ["", "1", "HTTP", "a--b", "-a", "a" * 16]),
        (names.environment_name, ["A", "a.b-c", "with space"], ["", "a=b", "ä"]),
        (names.path_segment, ["system:node", "A b"], [".", "..", "a/b", "50%"]),
        (names.ip, ["10.9.8.7", "2001:db8::ffff"], ["", "1.2.3", "1.2.3.256", "host"]),
    ],
)
def test_checks(check: names.Check, good: list[str], bad: list[str]) -> None:
    assert {name: check(name) for name in good} == {name: [] for name in good}
    assert all(check(name) for name in bad), {name: check(name) for name in bad}


def test_the_wording() -> None:
    assert names.dns_subdomain("Bad") == [
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]
    assert names.dns_label("a.b") == ["must not contain dots"]
    assert names.port_number(0) == ["must be between 1 and 65535, inclusive"]


def test_a_generate_name_may_end_in_a_dash() -> None:
    assert names.for_generation(names.dns_subdomain)("web-") == []
    assert names.for_generation(names.dns_subdomain)("Web-")


@pytest.mark.parametrize(
    ("text", "full", "tag"),
    [
        ("nginx", "docker.io/library/nginx", "latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27", "1.27"),
        ("me/app", "docker.io/me/app", "latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "v1"),
        ("example.com/a/b@sha256:" + "0" * 64, "example.com/a/b@sha256:" + "0" * 64, ""),
    ],
)
def test_image_names(text: str, full: str, tag: str) -> None:
    assert str(images.parse(text, default_tag="")) == full
    assert images.tag(text) == tag


@pytest.mark.parametrize("text", ["", "UPPER", "a:b:c", "a@sha256:short", "a b", "/a", "example.com/"])
def test_what_is_no_image_name(text: str) -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        images.parse(text)
