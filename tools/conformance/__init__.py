"""Upstream's own conformance suite against Sampan: `./dev conformance`.

`build` makes the suite's programs from the Go module k8s.io/kubernetes, `images` the images that its tests name (from
the Dockerfiles here), `run` starts a cluster of two nodes and runs the suite on it, and `report` writes
docs/conformance.md from the results. Start reading in `run`.
"""
