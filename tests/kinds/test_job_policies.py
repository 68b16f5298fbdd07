"""What a Job's policies may say."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds import job
from sampan.machinery.objects import Object


def of(**spec: Any) -> Object:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    meta = {"name": "j", "namespace": "default", "uid": "u"}
    obj: Object = {"metadata": meta, "spec": {"template": template, **spec}}
    job.KIND.default(obj)
    assert job.KIND.prepare
    job.KIND.prepare(obj, None, "")
    return obj


INDEXED = {"completionMode": "Indexed", "completions": 3, "parallelism": 3}


def rules(**rule: Any) -> Object:
    return {"podFailurePolicy": {"rules": [rule]}}


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex", "requires indexed completion mode"),
        (INDEXED | {"maxFailedIndexes": 1}, "spec.backoffLimitPerIndex", "when maxFailedIndexes is specified"),
        (INDEXED | {"maxFailedIndexes": 4, "backoffLimitPerIndex": 1}, "spec.maxFailedIndexes",
         "must be less than or equal to completions"),
        (rules(action="FailIndex", onExitCodes={"operator": "In", "values": [1]}),
         "spec.podFailurePolicy.rules[0].action", "requires the backoffLimitPerIndex to be set"),
        (rules(action="Count"), "spec.podFailurePolicy.rules[0]", "specifying one of OnExitCodes and OnPodConditions"),
        (rules(action="Count", onExitCodes={"operator": "In", "values": [2, 1]}),
         "spec.podFailurePolicy.rules[0].onExitCodes.values", "must be ordered"),
        (rules(action="Count", onExitCodes={"operator": "In", "values": [0]}),
         "spec.podFailurePolicy.rules[0].onExitCodes.values[0]", "must not be 0 for the In operator"),
        (rules(action="Count", onExitCodes={"operator": "In", "values": [1], "containerName": "x"}),
         "spec.podFailurePolicy.rules[0].onExitCodes.containerName", "must be one of the container"),
        ({"successPolicy": {"rules": []}}, "spec.successPolicy", "requires indexed completion mode"),
        (INDEXED | {"successPolicy": {"rules": [{"succeededIndexes": "1-5"}]}},
         "spec.successPolicy.rules[0].succeededIndexes", "error parsing succeededIndexes: too large index: 5"),
        (INDEXED | {"successPolicy": {"rules": [{"succeededIndexes": "0", "succeededCount": 2}]}},
         "spec.successPolicy.rules[0].succeededCount", "must be less than or equal to 1"),
        ({"managedBy": "me"}, "spec.managedBy", "must be a domain-prefixed path"),
        (rules(action="Count", onPodConditions=[{"type": "T"}]) | {"podReplacementPolicy": "TerminatingOrFailed"},
         "spec.podReplacementPolicy", "Unsupported value"),
    ],
)  # fmt: skip
def test_what_is_refused(spec: Object, field: str, words: str) -> None:
    found = job.KIND.validate(of(**spec), None)
    assert any(f.field == field and words in f.detail for f in found), found


def test_an_indexed_job_grows_with_its_parallelism_alone() -> None:
    old = of(**INDEXED)
    grown = {**old, "spec": {**old["spec"], "completions": 5}}
    assert [f.field for f in job.KIND.validate(grown, old)] == ["spec.completions"]
    grown["spec"]["parallelism"] = 5
    assert job.KIND.validate(grown, old) == []


def test_a_suspended_job_may_be_sent_elsewhere() -> None:
    old = of(suspend=True)
    template = {**old["spec"]["template"]}
    template["spec"] = {**template["spec"], "nodeSelector": {"a": "b"}}
    new = {**old, "spec": {**old["spec"], "template": template}}
    assert job.KIND.validate(new, old) == []
    template["spec"] = {**template["spec"], "hostNetwork": True}
    assert [f.field for f in job.KIND.validate(new, old)] == ["spec.template"]
