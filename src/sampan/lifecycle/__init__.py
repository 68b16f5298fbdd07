"""The life of a cluster on this machine: configured, given credentials, started, stopped, erased.

What `sampan up` and `sampan down` do, and what a test does with `sampan.testing`. Start with `cluster`.
"""
