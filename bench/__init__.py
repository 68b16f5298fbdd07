"""The figures: `./dev bench` prints them all, `./dev bench NAME` one group.

`--write` also puts them into docs/benchmarks.md. Each module here with a `run()` is a group; it returns rows.
Start with `__main__`.
"""
