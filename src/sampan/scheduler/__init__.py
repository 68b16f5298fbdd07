"""The scheduler: `place(snapshot, pods) -> bindings`, and the loop that feeds it.

Start with `place`.
"""
