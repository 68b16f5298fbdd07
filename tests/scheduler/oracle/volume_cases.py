"""Volumes for random cases: claims in every stage, volumes, classes, drivers with limits and capacities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.scheduler.oracle.cases import Maker

Object = dict[str, Any]
ZONE = "topology.kubernetes.io/zone"
DRIVERS = ("csi.example.com", "disk.example.com", "kubernetes.io/aws-ebs")
CLASSES = ("fast", "slow", "local", "now", "strange")


def add_volumes(make: Maker, case: Object) -> None:
    """Give the case's pods volumes, and the cluster what these need."""
    claims = [_claim(make, f"claim{i}") for i in range(8)]
    volumes = [_volume(make, f"pv{i}") for i in range(8)]
    for claim in claims[:5]:
        _bind(make, claim, volumes)
    if make.chance(0.15):
        claims = claims[:4]
    case["persistentVolumeClaims"], case["persistentVolumes"] = claims, volumes
    case["storageClasses"] = [_class(make, name) for name in CLASSES if make.chance(0.95)]
    case["csiNodes"] = [_csi_node(make, n["metadata"]["name"]) for n in case["nodes"] if make.chance(0.8)]
    case["csiDrivers"] = [_driver(make, name) for name in DRIVERS[:2] if make.chance(0.7)]
    case["csiStorageCapacities"] = [_capacity(make, f"c{i}") for i in range(4)]
    case["volumeAttachments"] = [_attachment(make, f"a{i}", case["nodes"]) for i in range(3)]
    for pod in case["pods"]:
        if make.chance(0.5):
            pod["spec"]["volumes"] = _pod_volumes(make, 0.1)
        pod["metadata"]["namespace"] = "default"
    case["pod"]["metadata"]["namespace"] = "default"
    case["pod"]["spec"]["volumes"] = _pod_volumes(make, 0.2)
    if any("ephemeral" in volume for volume in case["pod"]["spec"]["volumes"]) and make.chance(0.8):
        claims.append(_ephemeral_claim(make))


def _pod_volumes(make: Maker, disks: float) -> list[Object]:
    found = []
    for index in range(make.pick(1, 1, 2, 3)):
        source: Object = {"persistentVolumeClaim": {"claimName": f"claim{make.random.randint(0, 7)}"}}
        if make.chance(disks):
            source = _disk(make)
        elif make.chance(0.1):
            source = {"emptyDir": {}}
        elif make.chance(0.05):
            source = {"ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {}}}}}
        found.append({"name": f"v{index}"} | source)
    return found


def _disk(make: Maker) -> Object:
    found: Object = make.pick(
        {"gcePersistentDisk": {"pdName": make.pick("d1", "d2"), "readOnly": make.chance(0.5)}},
        {"awsElasticBlockStore": {"volumeID": make.pick("vol-1", "aws://zone/vol-1", "vol-2")}},
        {"rbd": {"monitors": [make.pick("m1", "m2")], "image": "i", "readOnly": make.chance(0.5)}},
        {
            "iscsi": {
                "targetPortal": "t",
                "iqn": make.pick("q1", "q2"),
                "lun": 0,
                "readOnly": make.chance(0.5),
            }
        },
    )
    return found


def _claim(make: Maker, name: str) -> Object:
    spec: Object = {
        "accessModes": [make.pick("ReadWriteOnce", "ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod")],
        "resources": {"requests": {"storage": make.pick("1Gi", "5Gi", "20Gi", "1500M")}},
        "storageClassName": make.pick(*CLASSES[:3], *CLASSES[:3], *CLASSES),
    }
    if make.chance(0.1):
        spec["selector"] = {"matchLabels": {"disk": "ssd"}}
    if make.chance(0.1):
        spec["volumeMode"] = "Block"
    meta: Object = {"name": name, "namespace": "default", "uid": name, "annotations": {}}
    if make.chance(0.1):
        meta["annotations"]["volume.kubernetes.io/selected-node"] = make.pick("n0", "n1")
    if make.chance(0.04):
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    phase = make.pick(
        "Pending", "Pending", "Pending", "Pending", "Pending", "Pending", "Pending", "Pending", "Lost"
    )
    return {"metadata": meta, "spec": spec, "status": {"phase": phase}}


def _ephemeral_claim(make: Maker) -> Object:
    claim = _claim(make, "incoming-v0")
    if make.chance(0.7):
        ref = {"apiVersion": "v1", "kind": "Pod", "name": "incoming", "uid": "incoming", "controller": True}
        claim["metadata"]["ownerReferences"] = [ref]
    return claim


def _bind(make: Maker, claim: Object, volumes: list[Object]) -> None:
    if make.chance(0.6):
        volume = make.pick(*volumes)
        claim["spec"]["volumeName"] = volume["metadata"]["name"] if make.chance(0.95) else "gone"
        if make.chance(0.9):
            claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes"
        ref = {"name": claim["metadata"]["name"], "namespace": "default", "uid": claim["metadata"]["uid"]}
        volume["spec"]["claimRef"] = ref
    elif make.chance(0.2):
        ref = {"name": claim["metadata"]["name"], "namespace": "default"}
        make.pick(*volumes)["spec"]["claimRef"] = ref


def _volume(make: Maker, name: str) -> Object:
    spec: Object = {
        "capacity": {"storage": make.pick("2Gi", "6Gi", "30Gi", "1500M")},
        "accessModes": make.random.sample(["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"], 2),
        "storageClassName": make.pick(*CLASSES[:3]),
    }
    spec |= make.pick(
        {"csi": {"driver": make.pick(*DRIVERS[:2]), "volumeHandle": make.pick(name, "shared")}},
        {"hostPath": {"path": "/x"}},
        {"csi": {"driver": DRIVERS[0], "volumeHandle": name}},
    )
    if make.chance(0.5):
        key, values = make.pick((ZONE, ["z0", "z1"]), ("rack", ["r0"]), ("disk", ["ssd", "hdd"]))
        terms = [
            {"matchExpressions": [{"key": key, "operator": make.pick("In", "In", "NotIn"), "values": values}]}
        ]
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
    meta: Object = {"name": name, "labels": {}}
    if make.chance(0.3):
        meta["labels"][make.pick(ZONE, "failure-domain.beta.kubernetes.io/zone")] = make.pick(
            "z0", "z1", "z0__z2"
        )
    if make.chance(0.3):
        meta["labels"]["disk"] = "ssd"
    if make.chance(0.1):
        spec["volumeMode"] = "Block"
    return {"metadata": meta, "spec": spec, "status": {"phase": make.pick("Available", "Available", "Bound")}}


def _class(make: Maker, name: str) -> Object:
    found: Object = {"metadata": {"name": name}, "provisioner": make.pick(*DRIVERS)}
    found["volumeBindingMode"] = "Immediate" if name == "now" else "WaitForFirstConsumer"
    if name == "local":
        found["provisioner"] = "kubernetes.io/no-provisioner"
    if name == "strange" and make.chance(0.5):
        del found["volumeBindingMode"]
    if make.chance(0.25):
        terms = [{"matchLabelExpressions": [{"key": ZONE, "values": ["z0", "z1"]}]}]
        found["allowedTopologies"] = terms
    return found


def _csi_node(make: Maker, name: str) -> Object:
    drivers = [
        {
            "name": driver,
            "nodeID": name,
            "allocatable": {"count": make.pick(1, 2, 3, 10)} if make.chance(0.8) else None,
        }
        for driver in (*DRIVERS[:2], "ebs.csi.aws.com")
        if make.chance(0.8)
    ]
    return {"metadata": {"name": name}, "spec": {"drivers": drivers}}


def _driver(make: Maker, name: str) -> Object:
    spec = {"storageCapacity": make.chance(0.6), "preventPodSchedulingIfMissing": make.chance(0.4)}
    return {"metadata": {"name": name}, "spec": spec}


def _capacity(make: Maker, name: str) -> Object:
    found: Object = {
        "metadata": {"name": name, "namespace": "kube-system"},
        "storageClassName": make.pick("fast", "slow"),
        "capacity": make.pick("4Gi", "40Gi", "100Gi"),
        "nodeTopology": {"matchLabels": {ZONE: name.replace("c", "z")}},
    }
    if make.chance(0.2):
        found["maximumVolumeSize"] = "10Gi"
    if make.chance(0.1):
        del found["nodeTopology"]
    return found


def _attachment(make: Maker, name: str, nodes: list[Object]) -> Object:
    spec = {
        "attacher": make.pick(*DRIVERS[:2]),
        "nodeName": make.pick(*nodes)["metadata"]["name"],
        "source": {"persistentVolumeName": f"pv{make.random.randint(0, 7)}"},
    }
    return {"metadata": {"name": name}, "spec": spec, "status": {"attached": True}}
