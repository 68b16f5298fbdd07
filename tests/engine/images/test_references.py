"""Names mean what they mean to Docker."""

from __future__ import annotations

import pytest

from sampan.engine.images.references import InvalidReference, parse
from sampan.engine.images.registry import Registries

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("written", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("docker.io/library/x", "docker.io/library/x:latest", "x:latest"),
        ("index.docker.io/x/y:z", "docker.io/x/y:z", "x/y:z"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("127.0.0.1:5000/a/b/c:1", "127.0.0.1:5000/a/b/c:1", "127.0.0.1:5000/a/b/c:1"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("Host/x", "Host/x:latest", "Host/x:latest"),
        ("a.example/x_y/b--c:V.1-2", "a.example/x_y/b--c:V.1-2", "a.example/x_y/b--c:V.1-2"),
        (f"x@{DIGEST}", f"docker.io/library/x@{DIGEST}", f"x@{DIGEST}"),
        (f"x:1@{DIGEST}", f"docker.io/library/x:1@{DIGEST}", f"x:1@{DIGEST}"),
    ],
)
def test_a_name_in_full_and_in_short(written: str, full: str, familiar: str) -> None:
    reference = parse(written)
    assert str(reference) == full
    assert reference.familiar == familiar
    assert parse(full) == reference


@pytest.mark.parametrize(
    "written",
    [
        "",
        "UPPER",
        "a//b",
        "-a",
        "a:",
        "a:-x",
        "a b",
        "a@sha256:12",
        "a/" + "x" * 300,
        "a" * 64,
        "x:a/b c",
        "a/../b",
    ],
)
def test_what_is_no_name(written: str) -> None:
    with pytest.raises(InvalidReference, match="invalid re"):
        parse(written)


@pytest.mark.parametrize(
    ("registry", "clear"),
    [
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("[::1]:5000", True),
        ("registry.example", False),
        ("127.registry.example", False),
        ("localhost.example:5000", False),
    ],
)
def test_only_this_machine_is_spoken_to_in_clear(registry: str, clear: bool) -> None:
    schemes = [url.partition(":")[0] for url in Registries().endpoints(registry)]
    assert schemes == (["https", "http"] if clear else ["https"])
