"""Reads the causes of changes, and draws them: operations, sequence diagrams, why an object is as it is.

Spans come from every process (`host.trace`), are collected in the control process (`collector`, `otlp`), grouped into
operations, one for each command that a person typed (`operations`), and drawn (`sequence`, `mermaid`, `svg`).
May touch the Client, and its own file of spans. Start with `operations`.
"""
