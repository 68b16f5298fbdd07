"""The loop that runs a plan: queues, backoff, leases. Controllers only observe and decide; this acts.

Start with `controller`.
"""
