"""Places many pending pods together: on the fewest nodes, or in the best balance, within a time limit.

`plan` turns a snapshot and pods into a `Problem` of numbers and checks the answer with the plain plugins; `process`
runs the solver as a child that may be killed at any time; `solve` starts with a good heuristic (`greedy`), improves it
by local search (`search`) and, where the extra `batch` (HiGHS) is installed, by patterns chosen by an integer program
(`patterns`). Start with `problem`, then `plan`.
"""
