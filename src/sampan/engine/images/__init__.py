"""Images: names, content, layers, and the writable root filesystems that containers get from them.

Everything lives under one directory, which several processes of a machine may use at once:

    blobs/sha256/HEX     content by digest: layers, configurations, manifests
    references/NAME      one small file for each name, replaced by rename: the manifest it points at
    images/HEX.json      one for each image (by the digest of its configuration): its manifest, when it came
    layers/HEX/          one unpacked layer, by chain ID; HEX.json beside it holds its size
    snapshots/ID/        a container's writable layer: upper, work, and the mount point `rootfs`
    cache/HEX.json       a build step's result (written by `engine.build`)
    tmp/                 unfinished work; what a killed process left there is removed when the store is next opened

Start with `store` (names and images), `snapshots` (what a container gets), `pull` and `archive` (how images come).
All of it is synchronous: callers on an event loop use a thread. Only `registry`, `pull` and `push` are asynchronous.
Source: the OCI image specification v1.1, and Docker's image format schema 2.
"""
