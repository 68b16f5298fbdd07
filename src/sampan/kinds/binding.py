"""Binding (core/v1): puts a pod on a node. The scheduler posts it to `pods/NAME/binding`."""

from __future__ import annotations

from sampan.kinds.kind import Kind

KIND = Kind(group="", version="v1", kind="Binding", plural="bindings", namespaced=True, verbs=("create",))
