"""Admission that users configure: webhooks, and policies in CEL.

`configured` follows what is configured; where that is nothing, a write pays for one look at an empty list. `matching`
decides what concerns a request, `request` is what webhooks and expressions see of it. `webhooks` calls programs,
`validating` and `mutating` evaluate policies, `expressions` gives both their variables.
Source: k8s.io/apiserver pkg/admission/plugin.
"""
