"""The scheduler: finds a node for every pod, as kube-scheduler 1.37 does, and explains it.

Decisions are plain functions of a snapshot: start with `decide`, then `plugins` (one file each) and `preemption`. What
waits, and for what, is in `queue` and `hints`. `loop` does it all on a real cluster; `configuration` says how.
Beyond one pod: `gang`, `batch`, `explain` and `remedies`, `whatif`, `descheduler`, each on a `cluster.ClusterState`.
Touches nothing but the Kubernetes API, and extenders over HTTP.
"""
