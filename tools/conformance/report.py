"""The suite's results: from its JUnit files to a table for each area, docs/conformance.md."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tools.conformance.build import VERSION

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
REASONS = Path(__file__).with_name("reasons.toml")
_AREA = re.compile(r"\[(sig-[a-z-]+)\]")
_MARKS = re.compile(r"\s*\[[^\]]*\]")


@dataclass(frozen=True, slots=True)
class Result:
    """One test's: `state` is passed or failed, `why` the failure's first line."""

    area: str
    name: str
    state: str
    seconds: float
    why: str = ""


def read(directory: Path) -> list[Result]:
    """The results of all tests that ran, from the JUnit files below `directory`."""
    found = []
    for path in sorted(directory.glob("*/junit*.xml")):
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            name = case.get("name", "")
            area = _AREA.search(name)
            if case.get("status") == "skipped" or case.find("skipped") is not None or not area:
                continue
            failure = case.find("failure")
            why = (
                ""
                if failure is None
                else (failure.get("message") or failure.text or "").strip().split("\n")[0]
            )
            state = "passed" if failure is None else "failed"
            plain = _MARKS.sub("", name.removeprefix("[It] ")).strip()
            found.append(Result(area[1], plain, state, float(case.get("time", 0)), why))
    return found


def summary(results: list[Result]) -> str:
    """One line for each test that failed, slowest tests, and the count."""
    states = Counter(result.state for result in results)
    lines = [f"FAILED {r.area} {r.name}: {r.why[:300]}" for r in results if r.state == "failed"]
    slow = sorted(results, key=lambda r: -r.seconds)[:5]
    lines += [f"slow {r.seconds:4.0f} s {r.name[:100]}" for r in slow]
    return "\n".join([*lines, f"{states['passed']} passed, {states['failed']} failed"])


def write(results: list[Result]) -> None:
    """Write docs/conformance.md: a table of areas, and what is not met with its reason."""
    import tomllib

    reasons: dict[str, str] = tomllib.loads(REASONS.read_text())
    areas = sorted({r.area for r in results})
    rows = [
        f"| {area} | {len(all_of)} | {sum(r.state == 'passed' for r in all_of)} |"
        for area in areas
        if (all_of := [r for r in results if r.area == area])
    ]
    failed = [r for r in results if r.state == "failed"]
    unmet = [f"- **{r.area}** {r.name}: {_reason(r, reasons)}" for r in failed]
    PAGE.write_text(_page(rows, len(results), len(results) - len(failed), unmet))


def _reason(result: Result, reasons: dict[str, str]) -> str:
    return next((why for part, why in reasons.items() if part in result.name), result.why)


def _page(rows: list[str], count: int, passed: int, unmet: list[str]) -> str:
    today = datetime.date.today().isoformat()
    table = "\n".join(["| area | tests | passed |", "|---|---|---|", *rows, f"| all | {count} | {passed} |"])
    return f"""# Conformance

Upstream's conformance suite of Kubernetes {VERSION}, unmodified, built from its Go module and run against `sampan up`
with two nodes on one machine with two cores. Made on {today} by `./dev conformance`.

{table}

## What is not met, and why

{chr(10).join(unmet) or "Nothing."}
"""
