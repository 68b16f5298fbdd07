"""Volumes: one file for each sort; `manager` is where to start reading.

`place` says what a volume is set up with, `payload` writes files that change all at once, `subpath` mounts
parts of volumes.
"""
