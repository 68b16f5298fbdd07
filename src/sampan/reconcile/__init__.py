"""The loop that runs a plan: queues, backoff, events, leases. Controllers only observe and decide; this acts.

Start with `controller` (what a controller is), then `loop` (how it is run).
"""
