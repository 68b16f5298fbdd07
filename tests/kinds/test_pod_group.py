"""PodGroup and Workload: what they get, what is refused, what stays, and what `kubectl get` shows of them."""

from __future__ import annotations

import copy
from typing import Any

from sampan.kinds import registry

from .examples import defaulted, faults, pod, written

API = "scheduling.k8s.io/v1beta1"


def group(**spec: Any) -> Any:
    return written(API, "PodGroup", spec={"schedulingPolicy": {"gang": {"minCount": 3}}, **spec})


def workload(*templates: Any) -> Any:
    return written(API, "Workload", spec={"podGroupTemplates": list(templates)})


def template(name: str, **fields: Any) -> Any:
    return {"name": name, "schedulingPolicy": {"gang": {"minCount": 2}}, **fields}


def test_a_group_is_disrupted_pod_by_pod_unless_it_says_otherwise() -> None:
    assert defaulted(group())["spec"]["disruptionMode"] == {"single": {}}
    assert defaulted(group(disruptionMode={"all": {}}))["spec"]["disruptionMode"] == {"all": {}}


def test_fields_of_gates_that_are_off_are_dropped() -> None:
    made = defaulted(group(preemptionPolicy="Never", parentCompositePodGroupName="big"))
    assert set(made["spec"]) == {"schedulingPolicy", "disruptionMode"}


def test_a_policy_is_exactly_one() -> None:
    at = "spec.schedulingPolicy"
    none, both = group(schedulingPolicy={}), group(schedulingPolicy={"basic": {}, "gang": {"minCount": 1}})
    assert faults(none)[at] == 'Invalid value: "": must specify one of: `basic`, `gang`'
    assert faults(both)[at] == 'Invalid value: "{basic, gang}": must specify exactly one of: `basic`, `gang`'
    empty = group(schedulingPolicy={"gang": {"minCount": 0}})
    assert "must be greater than or equal to 1" in faults(empty)[f"{at}.gang.minCount"]


def test_a_gang_may_be_resized_but_stays_a_gang() -> None:
    old = defaulted(group())
    larger, basic = copy.deepcopy(old), copy.deepcopy(old)
    larger["spec"]["schedulingPolicy"]["gang"]["minCount"] = 5
    basic["spec"]["schedulingPolicy"] = {"basic": {}}
    assert not faults(larger, old)
    assert "field cannot be cleared once set" in faults(basic, old)["spec.schedulingPolicy.gang"]
    moved = copy.deepcopy(old)
    moved["spec"]["workloadRef"] = {"workloadName": "train", "templateName": "workers"}
    assert "field is immutable" in faults(moved, old)["spec.workloadRef"]


def test_a_workload_lists_templates() -> None:
    assert not faults(workload(template("workers"), template("driver")))
    assert "must specify one of" in faults(workload())["spec"]
    assert "Duplicate value" in faults(workload(template("a"), template("a")))["spec.podGroupTemplates[1]"]
    mixed = workload(template("a", priority=1), template("b", priority=2))
    assert faults(mixed)["spec"] == "Invalid value: null: detected multiple priority configurations"
    many = workload(*(template(f"t{i}") for i in range(9)))
    assert "must have at most 8 items" in faults(many)["spec.podGroupTemplates"]


def test_templates_are_neither_added_nor_removed() -> None:
    old = defaulted(workload(template("a")))
    found = faults(defaulted(workload(template("b"))), old)
    assert found["spec.podGroupTemplates[0]"] == "Forbidden: item may not be added"
    assert found["spec.podGroupTemplates"] == "Forbidden: item may not be removed"


def test_a_pod_names_its_group() -> None:
    assert not faults(pod(schedulingGroup={"podGroupName": "train"}))
    at = "spec.schedulingGroup.podGroupName"
    assert "must specify one of: `podGroupName`" in faults(pod(schedulingGroup={}))[at]
    assert "RFC 1123 subdomain" in faults(pod(schedulingGroup={"podGroupName": "Not A Name"}))[at]


def test_what_kubectl_get_shows() -> None:
    made = group(workloadRef={"workloadName": "train", "templateName": "workers"})
    columns = registry.of(API, "PodGroup").columns

    def shown(obj: Any) -> list[Any]:
        return [c.value(obj, 0.0) for c in columns[:-1]]

    assert shown(made) == ["web", "Gang", "train", "Pending"]
    made["status"] = {"conditions": [{"type": "PodGroupInitiallyScheduled", "status": "True"}]}
    assert shown(made)[-1] == "Scheduled"
