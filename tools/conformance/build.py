"""Makes the programs of the suite from Go modules: e2e.test, its runner, and what its images contain.

Go modules, through the ordinary `go`, are the only source. The first build takes some 15 minutes on two cores; its
results are kept in ~/.cache/sampan/conformance.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

VERSION = "1.37.2"
MODULE = "k8s.io/kubernetes"
# Of each program: the package that it is built from, and the command that builds it.
PROGRAMS = {
    "agnhost": ("build", f"{MODULE}/test/images/agnhost"),
    "nnp": ("build", f"{MODULE}/test/images/nonewprivs"),
    "sample-apiserver": ("build", "k8s.io/sample-apiserver"),
    "ginkgo": ("build", "github.com/onsi/ginkgo/v2/ginkgo"),
    "e2e.test": ("test", f"{MODULE}/test/e2e"),
}
# What upstream's own build tells the programs: some tests ask for it.
_MAJOR, _MINOR = VERSION.split(".")[:2]
_SET = "-X k8s.io/component-base/version."
_VERSIONS = f"{_SET}gitVersion=v{VERSION} {_SET}gitMajor={_MAJOR} {_SET}gitMinor={_MINOR}"
_STAGED = re.compile(r"^\s+(k8s\.io/[\w\-]+) => \./staging", re.MULTILINE)


class BuildError(Exception):
    """The suite could not be built; the message says what failed."""


def home() -> Path:
    return (
        Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "sampan" / "conformance" / VERSION
    )


def programs() -> Path:
    """The directory with all programs; builds those that are not there. Raises BuildError."""
    if not shutil.which("go"):
        raise BuildError(
            "go is needed to build the conformance suite: apt-get install golang-go, 1.26 or newer"
        )
    directory = home()
    missing = [name for name in PROGRAMS if not (directory / name).exists()]
    if missing:
        _module(directory / "module")
        for name in missing:
            _build(directory, name)
    return directory


def source() -> Path:
    """The unpacked module, for the files that images contain."""
    found = _go(home() / "module", "list", "-m", "-f", "{{.Dir}}", MODULE)
    return Path(found.strip())


def _module(directory: Path) -> None:
    """A module of our own that requires the suite.

    The published module names its staging modules by path; each is published too, its version alike but for the 1.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "go.mod").write_text("module sampan.io/conformance\n")
    downloaded = json.loads(_go(directory, "mod", "download", "-json", f"{MODULE}@v{VERSION}"))
    (directory / "go.mod").write_text(_requirements(Path(downloaded["GoMod"]).read_text()))
    imports = "".join(f'import _ "{package}"\n' for _, package in PROGRAMS.values())
    (directory / "tools.go").write_text(f"//go:build tools\n\npackage conformance\n\n{imports}")
    _go(directory, "mod", "tidy")


def _requirements(theirs: str) -> str:
    staged = VERSION.replace("1.", "v0.", 1)
    replaced = "".join(f"replace {name} => {name} {staged}\n" for name in _STAGED.findall(theirs))
    language = re.findall(r"^go(?:debug)? .*", theirs, re.MULTILINE)
    return "\n".join(["module sampan.io/conformance", *language, f"require {MODULE} v{VERSION}", replaced])


def _build(directory: Path, name: str) -> None:
    command, package = PROGRAMS[name]
    words = ["test", "-c"] if command == "test" else ["build"]
    words.append(f"-ldflags=-s -w {_VERSIONS}")
    unfinished = directory / f"{name}.new"
    _go(directory / "module", *words, "-o", str(unfinished), package)
    unfinished.rename(directory / name)


def _go(directory: Path, *words: str) -> str:
    # Static programs, since they also run in images without a C library.
    environment = {**os.environ, "CGO_ENABLED": "0"}
    done = subprocess.run(["go", *words], cwd=directory, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"go {' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return done.stdout
