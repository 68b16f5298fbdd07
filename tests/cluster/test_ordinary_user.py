"""An ordinary user starts a cluster: sudo is asked once, and kubectl works without it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.campaign]

ROOT = Path(__file__).parent.parent.parent
USER = "sampan-tester"


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A copy of this checkout in a home that is closed to others, of a new user who may use sudo."""
    if not shutil.which("sudo"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "sudo"], check=True, capture_output=True)
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", USER], check=True)
    rule = Path("/etc/sudoers.d/sampan-tester")
    rule.write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    rule.chmod(0o440)
    home = Path(pwd.getpwnam(USER).pw_dir)
    home.chmod(0o700)
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in files.stdout.splitlines():
        target = home / "sampan" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    subprocess.run(["chown", "-R", f"{USER}:", str(home)], check=True)
    yield home / "sampan"
    as_user(home / "sampan", "./dev down --name tester --delete --yes")
    rule.unlink()
    subprocess.run(["userdel", "--remove", USER], check=True, capture_output=True)


def as_user(checkout: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a login shell of the user, with a path and little else."""
    passed = [
        f"{k}={v}" for k, v in os.environ.items() if k.startswith("PIP_") or k.endswith(("_proxy", "_PROXY"))
    ]
    words = [
        "su",
        "-",
        USER,
        "-c",
        f"cd {checkout} && env {' '.join(passed)} PATH=/usr/local/bin:/usr/bin:/bin {command}",
    ]
    return subprocess.run(words, capture_output=True, text=True, timeout=300)


def test_an_ordinary_user_is_asked_once_and_owns_the_kubeconfig(checkout: Path) -> None:
    up = as_user(checkout, "./dev up --name tester --port 0")
    assert up.returncode == 0, up.stdout + up.stderr
    assert up.stderr.count("asking sudo") == 1
    nodes = as_user(checkout, "./dev kubectl --name tester get nodes")
    assert " Ready " in nodes.stdout, nodes.stderr
    status = as_user(checkout, "./dev sampan status --name tester")
    assert "control" in status.stdout, status.stderr
