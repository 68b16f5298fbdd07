"""What all tests share: they find our source, and each run leaves its results for docs/matrix.md."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
os.environ["PYTHONPATH"] = str(ROOT / "src")
RESULTS = ROOT / ".cache" / "results.json"


class Results:
    """Collects each test's outcome, in the process that sees them all."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            self.outcomes[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        RESULTS.parent.mkdir(exist_ok=True)
        old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        # Runs at the same time each read a whole file.
        made = RESULTS.with_suffix(f".{os.getpid()}")
        made.write_text(json.dumps({**old, **self.outcomes}, indent=0, sort_keys=True))
        made.replace(RESULTS)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite` writes what scenario files give now into them; read the difference before committing it."""
    parser.addoption("--rewrite", action="store_true", help="write the scenarios' outcomes into their files")


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite"))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(), "results")


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the caller's kubeconfig."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
