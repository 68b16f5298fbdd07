"""Reads the causes of changes, and draws them: operations, sequence diagrams, why an object is as it is.

Start with `operations`.
"""
