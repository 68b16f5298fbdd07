"""The descheduler: evicts pods that would be placed better today, so that the scheduler places them anew.

Policies (`strategies`) are plain functions that name candidates; `decide` keeps those that may be evicted, whose
budgets allow it, and for whom a simulation with the scheduler's own plugins proves a better place; `process` evicts
them through the eviction API. Policy files are of the kubernetes-sigs descheduler's form (`policy`). Start with
`decide`.
"""
