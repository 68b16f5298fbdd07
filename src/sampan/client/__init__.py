"""The one way to state: a `Client` that gets, lists, watches, creates, updates, patches and deletes.

`api` is the contract. Two clients keep it: the HTTP one here, and the local one that enters the API server's handler
chain in the same process. `watching` follows objects through every trouble a watch can have, `informer` keeps a copy
that it follows so. `kubeconfig` finds a cluster and who one is. May touch HTTP and kinds. Start with `api`.
"""
