"""API Priority and Fairness: a client gone wild waits in its own queue, and the others do not notice.

    schemas     which flow schema a request matches, and so its priority level and its flow
    levels      a priority level: seats, queues, whose turn it is; plain data, no clock of its own
    gate        the step of the chain: in at once while there is room, else in turn, or 429
    suggested   the schemas and levels that every cluster has

Sources: KEP-1040; the concepts' page "API Priority and Fairness". Differences from upstream: requests over HTTP only,
since components in this process have no connection to flood; a loop that is behind counts as having no room, because
work here happens in one thread; a schema looks at the user who is authenticated, before any impersonation.
"""
