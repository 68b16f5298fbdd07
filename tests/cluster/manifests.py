"""Manifests that several tests start from."""

from __future__ import annotations

from textwrap import dedent, indent


def pod(name: str, spec: str, *, labels: str = "{}") -> str:
    """A Pod that is not long in ending; `spec` is YAML, indented as one likes."""
    grace = "" if "terminationGracePeriodSeconds" in spec else "terminationGracePeriodSeconds: 1\n"
    head = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {labels}}}\nspec:\n"
    return head + indent(grace + dedent(spec), "  ")
