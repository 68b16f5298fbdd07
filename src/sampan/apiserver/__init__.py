"""The Kubernetes API: one visible chain of handlers from authentication to the store.

Start with `chain`, where the order of the handlers can be read; then

    server, settings, bootstrap     the whole, its start, and what every cluster has from it
    call, routing                   what is asked; dispatch, subresources, reviews, paths: who answers
    authentication, tokens          who asks; authorization, rbac, nodes, policy: what he may
    reading, watching, hub          reads: bytes from the store, spliced; one follower of the store for all who watch
    rendering, representing         answers: JSON, YAML, protobuf, tables; other forms than JSON are decoded
    fairness/                       whose turn it is, when all ask at once
    writing, patching, deleting     writes; deletion and managers are their decisions, admission/ their plugins
    managers, fields, applying      who owns which field, and server-side apply
    custom/, catalog                custom kinds: definitions followed, named, served, converted
    admission/dynamic/, hooks       admission that users configure: policies in CEL, webhooks
    aggregator/, oidc/              other API servers behind this one; users whom others vouch for
    connections, kubelets, usage    what passes through to nodes
    local                           the client in this process

It may use the store, and reaches nodes only over the kubelet's API.
"""
