"""Devices for random cases: slices of every scope, classes, claims with all that they may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.scheduler.oracle.cases import Maker

Object = dict[str, Any]
DRIVERS = ("gpu.example.com", "nic.example.com")
CLASSES = ("any", "fast", "shared", "nic")
RESOURCES = ("example.com/gpu", "example.com/card")
EXPRESSIONS = (
    'device.driver == "gpu.example.com"',
    'device.attributes["gpu.example.com"].model == "big"',
    'device.attributes["gpu.example.com"].cores >= 4',
    'device.capacity["gpu.example.com"].memory.compareTo(quantity("8Gi")) >= 0',
    '"model" in device.attributes["gpu.example.com"]',
    'device.attributes["other.example.com"].?model.orValue("none") == "none"',
    'device.attributes["gpu.example.com"].?firmware.orValue(semver("0.0.1")).isGreaterThan(semver("1.0.0"))',
    "device.allowMultipleAllocations",
)


def add_devices(make: Maker, case: Object) -> None:
    """Give the case's nodes devices, and its pod claims on them."""
    del case["nodes"][5:]
    for node in case["nodes"]:
        node["spec"] = {}
        node["status"]["allocatable"] |= {"cpu": "64", "memory": "256Gi", "pods": "110"}
    spec = case["pod"]["spec"]
    for field in ("affinity", "nodeSelector", "nodeName", "topologySpreadConstraints", "resources"):
        spec.pop(field, None)
    case["pods"] = []
    case["resourceSlices"] = _slices(make, [node["metadata"]["name"] for node in case["nodes"]])
    case["deviceClasses"] = [_class(make, name) for name in CLASSES if make.chance(0.97)]
    claims = [
        _claim(make, f"mine{i}", case["pod"]["metadata"]["namespace"]) for i in range(make.pick(1, 1, 2))
    ]
    spec["resourceClaims"] = [
        {"name": f"r{i}", "resourceClaimName": claim["metadata"]["name"]} for i, claim in enumerate(claims)
    ]
    if make.chance(0.04):
        spec["resourceClaims"].append({"name": "gone", "resourceClaimName": "gone"})
    others = [_claim(make, f"other{i}", "default") for i in range(make.pick(0, 1, 3))]
    for claim in others:
        _allocate(make, claim, case)
    if make.chance(0.15):
        _allocate(make, claims[0], case)
    case["resourceClaims"] = [*claims, *others]
    if make.chance(0.3):
        _ask_by_resource(make, case)
    if make.chance(0.25) and case["resourceSlices"]:
        case["deviceTaintRules"] = [_rule(make, i, case) for i in range(make.pick(1, 2))]


def _rule(make: Maker, number: int, case: Object) -> Object:
    slice_ = make.pick(*case["resourceSlices"])["spec"]
    selector = {}
    if make.chance(0.5):
        selector["driver"] = slice_["driver"]
    if make.chance(0.5):
        selector["pool"] = slice_["pool"]["name"]
    if make.chance(0.5) and slice_.get("devices"):
        selector["device"] = make.pick(*slice_["devices"])["name"]
    taint = {"key": make.pick("broken", "old"), "effect": make.pick("NoSchedule", "NoExecute", "None")}
    spec = {"taint": {**taint, "timeAdded": "2026-01-01T00:00:00Z"}}
    if make.chance(0.9):
        spec["deviceSelector"] = selector
    return {"metadata": {"name": f"rule{number}"}, "spec": spec}


def _ask_by_resource(make: Maker, case: Object) -> None:
    """Let the pod ask for devices as extended resources, besides its claims or instead of them."""
    case.pop("config", None)
    spec = case["pod"]["spec"]
    if make.chance(0.6):
        del spec["resourceClaims"]
    # Of two classes with one name upstream forgets one or the other, as they come.
    for device_class, name in zip(case["deviceClasses"], make.random.sample(RESOURCES, 2), strict=False):
        device_class["spec"]["extendedResourceName"] = name
    for node in case["nodes"]:
        if make.chance(0.3):
            node["status"]["allocatable"]["example.com/gpu"] = make.pick("0", "2")
    if make.chance(0.5):
        spec["initContainers"] = make.containers("i", 3)
        for container in spec["initContainers"]:
            if make.chance(0.3):
                container["restartPolicy"] = "Always"
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        name = make.pick(
            "example.com/gpu", "example.com/gpu", "deviceclass.resource.kubernetes.io/any", "example.com/none"
        )
        container["resources"]["requests"] = {"cpu": "1", name: make.pick("1", "1", "2")}


def _slices(make: Maker, nodes: list[str]) -> list[Object]:
    found = []
    for driver in DRIVERS:
        for name in nodes:
            if make.chance(0.75):
                found += _pool(make, driver, name, {"nodeName": name})
    if make.chance(0.4):
        scope = make.pick(
            {"allNodes": True},
            {"nodeSelector": {"nodeSelectorTerms": [make.node_term()]}},
            {"perDeviceNodeSelection": True},
        )
        found += _pool(make, DRIVERS[0], "network", scope)
    return found


def _pool(make: Maker, driver: str, pool: str, scope: Object) -> list[Object]:
    count = make.pick(1, 1, 1, 2)
    generation = make.pick(1, 1, 1, 2)
    partitioned = make.chance(0.2) and count == 1
    pieces = [
        {
            "metadata": {"name": f"{driver.partition('.')[0]}-{pool}-{i}"},
            "spec": {
                "driver": driver,
                "pool": {"name": pool, "generation": generation, "resourceSliceCount": count + partitioned},
                "devices": [
                    _device(make, f"d{i}{j}", scope, partitioned) for j in range(make.pick(1, 2, 3, 4))
                ],
                **scope,
            },
        }
        for i in range(count)
    ]
    if partitioned:
        counters = {"memory": {"value": make.pick("10Gi", "20Gi")}}
        spec = {**pieces[0]["spec"], "sharedCounters": [{"name": "set", "counters": counters}]}
        del spec["devices"]
        if "perDeviceNodeSelection" in spec:
            del spec["perDeviceNodeSelection"]
            spec["allNodes"] = True
        pieces.append({"metadata": {"name": f"{pieces[0]['metadata']['name']}-counters"}, "spec": spec})
    if make.chance(0.05):
        pieces.pop()
    return pieces


def _device(make: Maker, name: str, scope: Object, partitioned: bool) -> Object:
    found: Object = {"name": name, "attributes": {}, "capacity": {}}
    if make.chance(0.8):
        found["attributes"]["model"] = {"string": make.pick("big", "small")}
    found["attributes"]["cores"] = {"int": make.pick(2, 4, 8)}
    if make.chance(0.4):
        found["attributes"]["firmware"] = {"version": make.pick("1.2.3", "0.9.0")}
    if make.chance(0.7):
        found["attributes"]["example.com/numa"] = {"int": make.pick(0, 1)}
    found["capacity"]["memory"] = {"value": make.pick("4Gi", "8Gi", "16Gi")}
    if make.chance(0.25):
        found["allowMultipleAllocations"] = True
        if make.chance(0.6):
            found["capacity"]["memory"]["requestPolicy"] = make.pick(
                {"default": "1Gi", "validRange": {"min": "1Gi", "step": "2Gi"}},
                {"default": "2Gi", "validValues": ["2Gi", "4Gi"]},
                {"default": "1Gi", "validRange": {"min": "500m", "max": "8Gi", "step": "250m"}},
            )
    if make.chance(0.15):
        found["taints"] = [
            {"key": "broken", "value": "yes", "effect": make.pick("NoSchedule", "NoExecute", "None")}
        ]
    if "perDeviceNodeSelection" in scope:
        selector = {"nodeSelector": {"nodeSelectorTerms": [make.node_term()]}}
        found |= make.pick({"nodeName": "n0"}, {"allNodes": True}, selector)
    if partitioned:
        use = {"memory": {"value": make.pick("4Gi", "8Gi", "12Gi")}}
        found["consumesCounters"] = [{"counterSet": "set", "counters": use}]
    if make.chance(0.05):
        found["bindingConditions"] = ["ready"]
        found["bindingFailureConditions"] = ["failed"]
    return found


def _class(make: Maker, name: str) -> Object:
    selectors: dict[str, list[str]] = {
        "any": [], "fast": [f"{EXPRESSIONS[0]} && {EXPRESSIONS[2]}"], "shared": ["device.allowMultipleAllocations"],
        "nic": ['device.driver == "nic.example.com"'],
    }  # fmt: skip
    return {
        "metadata": {"name": name},
        "spec": {"selectors": [{"cel": {"expression": e}} for e in selectors[name]]},
    }


def _request(make: Maker) -> Object:
    found: Object = {"deviceClassName": make.pick("any", *CLASSES), "allocationMode": "ExactCount"}
    found["count"] = make.pick(1, 1, 2, 3)
    if make.chance(0.15):
        found["allocationMode"] = "All"
        del found["count"]
    if make.chance(0.4):
        # Most ask for the driver first, lest the search ends at the first device without the attribute.
        guard = f"{EXPRESSIONS[0]} && " if make.chance(0.9) else ""
        found["selectors"] = [{"cel": {"expression": guard + make.pick(*EXPRESSIONS[2:])}}]
    if make.chance(0.3):
        found["tolerations"] = [{"key": "broken", "operator": "Exists"}]
    if make.chance(0.15):
        found["capacity"] = {"requests": {"memory": make.pick("1Gi", "3Gi", "8Gi", "100Mi")}}
    return found


def _claim(make: Maker, name: str, namespace: str) -> Object:
    requests: list[Object] = []
    for index in range(make.pick(1, 1, 2)):
        if make.chance(0.25):
            options = [{"name": f"o{i}", **_request(make)} for i in range(make.pick(2, 3))]
            requests.append({"name": f"q{index}", "firstAvailable": options})
        else:
            exactly = _request(make)
            if make.chance(0.1):
                exactly["adminAccess"] = True
            requests.append({"name": f"q{index}", "exactly": exactly})
    devices: Object = {"requests": requests}
    if make.chance(0.3):
        kind = make.pick("matchAttribute", "matchAttribute", "distinctAttribute")
        attribute = make.pick("example.com/numa", "gpu.example.com/model", "gpu.example.com/cores")
        devices["constraints"] = [{kind: attribute, "requests": make.pick([], ["q0"])}]
    return {"metadata": {"name": name, "namespace": namespace, "uid": name}, "spec": {"devices": devices}}


def _allocate(make: Maker, claim: Object, case: Object) -> None:
    """As if the claim had got some device."""
    pieces = [piece for piece in case["resourceSlices"] if piece["spec"].get("devices")]
    if not pieces:
        return
    piece = make.pick(*pieces)
    device = make.pick(*piece["spec"]["devices"])
    result: Object = {
        "request": "q0",
        "driver": piece["spec"]["driver"],
        "pool": piece["spec"]["pool"]["name"],
    }
    result["device"] = device["name"]
    if device.get("allowMultipleAllocations"):
        result["shareID"] = "00000000-0000-0000-0000-000000000001"
        result["consumedCapacity"] = {"memory": "1Gi"}
    first = claim["spec"]["devices"]["requests"][0]
    if "firstAvailable" in first:
        result["request"] = f"q0/{make.pick(*first['firstAvailable'])['name']}"
    allocation: Object = {"devices": {"results": [result]}}
    if name := piece["spec"].get("nodeName"):
        only = {"key": "metadata.name", "operator": "In", "values": [name]}
        allocation["nodeSelector"] = {"nodeSelectorTerms": [{"matchFields": [only]}]}
    claim["status"] = {
        "allocation": allocation,
        "reservedFor": [{"resource": "pods", "name": "x", "uid": "x"}],
    }
