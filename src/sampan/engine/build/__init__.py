"""Builds: from a Dockerfile and a context to an image.

`dockerfile` parses, `words` expands variables, `ignore` reads .dockerignore, `plan` decides which stages are needed:
all plain functions. `builder` walks the instructions, `state` holds what a stage has become and its cache keys,
`copying` and `running` touch files and processes, `diff` turns what a step has changed into a layer. Start with
`builder`.
Source: Docker's Dockerfile reference; the step lines look as the classic builder's.
"""
