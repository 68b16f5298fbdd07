"""The container engine: images, layers, containers, builds. Its face is CRI v1, and it drives an OCI runtime.

Start with `containers`.
"""
