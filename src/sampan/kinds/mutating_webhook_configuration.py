"""MutatingWebhookConfiguration (admissionregistration.k8s.io/v1): programs that may change what is written."""

from __future__ import annotations

from sampan.kinds import admission_rules, strategy
from sampan.kinds.columns import AGE, NAME, count
from sampan.kinds.kind import Column, Kind
from sampan.kinds.metadata import checked
from sampan.machinery.objects import Object


def _default(obj: Object) -> None:
    for hook in obj.get("webhooks") or ():
        admission_rules.default_webhook(hook)
        hook.setdefault("reinvocationPolicy", "Never")


KIND = Kind(
    group="admissionregistration.k8s.io",
    version="v1",
    kind="MutatingWebhookConfiguration",
    plural="mutatingwebhookconfigurations",
    namespaced=False,
    categories=("api-extensions",),
    columns=(
        NAME,
        Column("Webhooks", count("webhooks"), type="integer", description="How many there are."),
        AGE,
    ),
    default=_default,
    prepare=strategy.counted_whole,
    validate=checked(admission_rules.webhooks, namespaced=False),
)
