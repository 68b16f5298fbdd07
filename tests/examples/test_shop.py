"""The shop's manifests and Dockerfiles hold together; that it runs is tested on a real cluster."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.engine.build.dockerfile import parse
from sampan.host import process

Object = dict[str, Any]


@pytest.fixture
async def objects(examples: Path) -> list[Object]:
    kubectl = Path(sys.executable).parent / "kubectl"
    found = shutil.which("kubectl") if not kubectl.exists() else kubectl
    done = await process.run(str(found), "kustomize", str(examples / "shop"))
    return list(yaml.safe_load_all(done.stdout))


def of(objects: list[Object], kind: str) -> dict[str, Object]:
    return {o["metadata"]["name"]: o for o in objects if o["kind"] == kind}


def templates(objects: list[Object]) -> list[Object]:
    return [o["spec"]["template"] for o in objects if "template" in o.get("spec", {})]


async def test_every_kind_that_a_real_application_has(objects: list[Object]) -> None:
    kinds = {o["kind"] for o in objects}
    assert kinds == {"ConfigMap", "Deployment", "Job", "Secret", "Service", "StatefulSet"}
    assert of(objects, "Service")["shop-web"]["spec"]["type"] == "NodePort"
    assert of(objects, "Service")["shop-db"]["spec"]["clusterIP"] == "None"
    assert of(objects, "StatefulSet")["shop-db"]["spec"]["volumeClaimTemplates"]


async def test_selectors_meet_exactly_their_own_pods(objects: list[Object]) -> None:
    labels = [t["metadata"]["labels"].items() for t in templates(objects)]
    selectors = [o["spec"]["selector"] for o in of(objects, "Service").values()]
    selectors += [
        o["spec"]["selector"]["matchLabels"] for o in objects if o["kind"] in ("Deployment", "StatefulSet")
    ]
    assert len(selectors) == 6
    for selector in selectors:
        assert sum(selector.items() <= each for each in labels) == 1


async def test_what_pods_refer_to_is_there(objects: list[Object], examples: Path) -> None:
    secrets, settings = of(objects, "Secret"), of(objects, "ConfigMap")
    built = {f"shop-{d.parent.name}:1" for d in (examples / "shop").glob("*/Dockerfile")}
    for template in templates(objects):
        spec = template["spec"]
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["image"] in built | {"postgres:15"}
            assert container["imagePullPolicy"] == "IfNotPresent"
            for each in container.get("env", []):
                if wanted := each.get("valueFrom", {}).get("secretKeyRef"):
                    assert wanted["key"] in secrets[wanted["name"]]["stringData"]
        for volume in spec.get("volumes", []):
            assert volume["configMap"]["name"] in settings
    for service in of(objects, "Service").values():
        pods = [
            t
            for t in templates(objects)
            if service["spec"]["selector"].items() <= t["metadata"]["labels"].items()
        ]
        ports = {
            p["name"]: p["containerPort"] for t in pods for c in t["spec"]["containers"] for p in c["ports"]
        }
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            assert target in ports or target in ports.values()


def test_dockerfiles_begin_as_people_write_them(examples: Path) -> None:
    for path in (examples / "shop").glob("*/Dockerfile"):
        instructions = parse(path.read_text()).instructions
        assert instructions[0].rest == "debian:12-slim"
        for each in instructions:
            if each.keyword == "COPY":
                for source in each.rest.split()[:-1]:
                    assert list(path.parent.glob(source.rstrip("/"))), f"{path}: {source}"


async def test_scripts_are_well_formed(examples: Path) -> None:
    await process.run("sh", "-n", str(examples / "shop/web/start.sh"))
    await process.run("bash", "-n", str(examples / "base/postgres/docker-entrypoint.sh"))
