"""A custom kind with one of everything, for the tests."""

from __future__ import annotations

from typing import Any

from sampan.machinery.objects import Object

GROUP = "fleet.example.com"
NAME = f"boats.{GROUP}"

SPEC: Object = {
    "type": "object",
    "required": ["harbour"],
    "x-kubernetes-validations": [
        {"rule": "self.sails <= self.crew * 3", "message": "too few hands for the sails"},
        {"rule": "self.harbour == oldSelf.harbour || self.crew > 0",
         "messageExpression": "'no crew to leave ' + oldSelf.harbour"},
    ],
    "properties": {
        "harbour": {
            "type": "string",
            "enum": ["East", "West"],
            "x-kubernetes-validations": [{"rule": "self == oldSelf || oldSelf != 'West'",
                "reason": "FieldValueForbidden", "message": "nobody leaves West"}],
        },
        "sails": {"type": "integer", "minimum": 1, "default": 1},
        "crew": {"type": "integer", "default": 2},
        "title": {"type": "string", "maxLength": 10, "pattern": "^[a-z]+$"},
        "draught": {"x-kubernetes-int-or-string": True},
        "note": {"type": "string", "nullable": True},
        "cargo": {
            "type": "array",
            "maxItems": 5,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["kind"],
            "items": {
                "type": "object",
                "required": ["kind"],
                "properties": {"kind": {"type": "string"}, "tons": {"type": "integer"}},
            },
        },
        "flags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}  # fmt: skip
STATUS: Object = {
    "type": "object",
    "properties": {
        "afloat": {"type": "boolean"},
        "hands": {"type": "integer"},
        "selector": {"type": "string"},
    },
}


def version(name: str = "v1", **more: Any) -> Object:
    schema = {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}
    return {
        "name": name,
        "served": True,
        "storage": name == "v1",
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.crew",
                "statusReplicasPath": ".status.hands",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": "Harbour", "type": "string", "jsonPath": ".spec.harbour"},
            {"name": "Sails", "type": "integer", "jsonPath": ".spec.sails", "priority": 1},
        ],
        "selectableFields": [{"jsonPath": ".spec.harbour"}],
        **more,
    }


def definition(*versions: Object, **names: Any) -> Object:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": "boats",
                "kind": "Boat",
                "shortNames": ["bo"],
                "categories": ["all"],
                **names,
            },
            "versions": list(versions) or [version()],
        },
    }


def boat(name: str = "tern", version: str = "v1", **spec: Any) -> Object:
    return {
        "apiVersion": f"{GROUP}/{version}",
        "kind": "Boat",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"harbour": "East", **spec},
    }
