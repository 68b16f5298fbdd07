"""The Kubernetes API: one visible chain of handlers from authentication to the store.

Start with `chain`, where the order of the handlers can be read.
"""
