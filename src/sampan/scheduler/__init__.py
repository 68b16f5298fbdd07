"""The scheduler: `place(snapshot, pods) -> bindings`, and the loop that feeds it.

Start with `place`, then `filters` and `scores`; `loop` does what it decides.
"""
