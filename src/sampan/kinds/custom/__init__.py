"""Kinds that CustomResourceDefinitions bring: from a definition to values of `kinds.kind.Kind`, like those built in.

Start with `kinds` (a definition's versions as kinds). Then, in the order in which an object that a client sent passes:

    pruning       what the schema does not know is dropped
    defaulting    what the writer left out is filled in
    values        the schema's limits; `lists` their uniqueness and embedded metadata
    rules         x-kubernetes-validations, in CEL

and for definitions themselves: `structural` (the form that schemas must have) and `schemas` (the rest of their rules).
Source: k8s.io/apiextensions-apiserver.
"""
