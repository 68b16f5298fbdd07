"""The cluster DNS: one small server on each node, at an address that every node has itself.

`wire` is the protocol without sockets, `records` what the cluster's names mean, `forward` asks the host's resolvers
for all other names, `server` ties them to sockets. Start with `records`.
"""
