"""The one way to state: a `Client` that gets, lists, watches, creates, updates, patches and deletes.

`api` is the contract. Two clients keep it: the HTTP one here, and the local one that enters the API server's handler
chain in the same process. `informer` keeps a watched copy. Start with `api`.
"""
