"""The machine we run on: the only room for child processes, netlink, nftables, cgroups, mounts and clocks.

Every other room asks this one when it wants something of Linux. It also holds the trace context that all rooms
carry (`trace`). It imports no other room. Start with `process` (children), `trace` (causes),
`files` (how a file is replaced), `libc` (system calls that Python lacks).
"""
