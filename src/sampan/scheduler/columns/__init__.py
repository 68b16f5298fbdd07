"""The fast path of the scheduler: nodes as columns of numbers, and a small native kernel that runs over them.

Same answers as the plugins, for clusters of many nodes; small ones never load this package (it imports numpy).
Start with `placer`, which the loop calls; `table` holds the nodes, `counters` who stands where, `frames` turn a pod
into a question, and `kernel.c` (through `native`) or `twin` (numpy) answers it.
"""
