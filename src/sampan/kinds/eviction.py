"""Eviction (policy/v1): asks that a pod be deleted, where its budget allows; posted to `pods/NAME/eviction`."""

from __future__ import annotations

from sampan.kinds.kind import Kind

KIND = Kind(group="policy", version="v1", kind="Eviction", plural="evictions", namespaced=True, verbs=())
