"""The audit log: who asked for what, and what was answered, as far as a policy wants it known.

Start with `policy`, which says how much; `events` says what is written of a call, `file` where to, and `step` is the
step of the chain that does it. Without a policy there is no step.

Source: the documentation's "Auditing"; k8s.io/apiserver pkg/audit and pkg/apis/audit/v1.
"""
