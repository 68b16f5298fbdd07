"""The container engine: images, layers, containers, builds. Its face is CRI v1, and it drives an OCI runtime.

Start with `engine` (the whole, and CRI's calls in `cri/`), then `sandboxes` and `containers` (what happens),
`records` (the states), `spec` (what the runtime is told), `shims` with `shim/shim.c` (who stays with a
container), `recovery` (after our own death). Images are in `images/`, builds in `build/`.
"""
