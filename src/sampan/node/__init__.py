"""The kubelet: the pods of one node, run through CRI, and the kubelet's own API.

It touches the API through a `Client`, the runtime through `machinery.cri.Cri`, and of the machine only what `host`
offers: mounts, cgroups, inotify. Start with `decide`, the life of a pod as a plain function; `worker` carries it
out, `status` reports it, `kubelet` joins everything. `volumes` and `server` are rooms of their own within.
"""
