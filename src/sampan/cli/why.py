"""Say in plain words why an object is as it is: its state, what keeps it there, what would help, who changed it."""

from __future__ import annotations

import argparse
import datetime
from typing import Any

from sampan.cli import objects
from sampan.cli.clusters import add_name, find
from sampan.cli.problem import Problem
from sampan.client.api import Client
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Object, key, owner
from sampan.tracing.why import Around, explain


def add(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("object", help="KIND/NAME, such as pod/web or deploy/shop")
    parser.add_argument("-n", "--namespace", default="default")


def run(arguments: argparse.Namespace) -> int:
    from sampan.cli import api

    kind, name = _parse(arguments.object)
    namespace = arguments.namespace if kind.namespaced else ""
    config = find(arguments.name)
    around = api.ask(config, lambda client, get: look(client, kind, name, namespace))
    placement = api.ask(config, lambda client, get: scheduling(client, around))
    where = {"resource": kind.plural, "namespace": namespace, "name": name, "limit": "3"}
    changes = api.ask(config, lambda client, get: api.json(get, "/sampan/v1/changes", **where))["changes"]
    print(f"{kind.kind} {name}")
    for sentence in [*explain(around), *placement] or ["There is nothing unusual to say of it."]:
        print(f"  {sentence}")
    for change in changes:
        print(f"  {_changed(change)}")
    return 0


def _parse(text: str) -> tuple[Kind, str]:
    word, slash, name = text.partition("/")
    if not slash or not name:
        raise Problem(f"{text!r} is not KIND/NAME, such as pod/web")
    if kind := objects.builtin(word.lower()):
        return kind, name
    raise Problem(f"there is no kind {word!r}; `kubectl api-resources` lists them")


async def look(client: Client, kind: Kind, name: str, namespace: str) -> Around:
    """Read an object and what stands around it."""
    obj = await client.get(kind.resource, name, namespace)
    fields = f"involvedObject.uid={obj['metadata']['uid']}"
    events = (await client.list("events", namespace, fields=fields)).items
    return Around(obj, kind.kind, sorted(events, key=_when), await _owned(client, kind, obj))


async def scheduling(client: Client, around: Around) -> list[str]:
    """What the scheduler has to say of a pod: why it is where it is, or what would make it fit."""
    if around.kind != "Pod":
        return []
    from sampan.scheduler import cluster, plugins
    from sampan.scheduler.decide import SchedulingError
    from sampan.scheduler.explain import explain
    from sampan.scheduler.explain_text import advice, sentences
    from sampan.scheduler.remedies import remedies

    state = await cluster.read_cluster(client)
    pod = state.pod(key(around.object))
    if pod is None:
        return []
    profile = plugins.default_profile()
    try:
        found = explain(profile, state.snapshot, pod)
        if found.feasible or found.at:
            return sentences(found)
        return advice(remedies(profile, state.snapshot, pod), state.snapshot)
    except SchedulingError as e:
        return [f"The scheduler cannot tell: {e}"]


def _when(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


async def _owned(client: Client, kind: Kind, obj: Object) -> list[Object]:
    """The pods below an object, through ReplicaSets where it makes those; a Service's endpoint slices."""
    meta = obj["metadata"]
    namespace = meta.get("namespace", "")
    if kind.kind == "Service":
        found = await client.list(
            "endpointslices.discovery.k8s.io", namespace, labels=f"kubernetes.io/service-name={meta['name']}"
        )
        return found.items
    if not namespace or kind.kind == "Pod":
        return []
    owners = {meta["uid"]}
    if kind.kind == "Deployment":
        sets = await client.list("replicasets.apps", namespace)
        owners |= {s["metadata"]["uid"] for s in sets.items if (owner(s) or {}).get("uid") in owners}
    pods = await client.list("pods", namespace)
    return [p for p in pods.items if (owner(p) or {}).get("uid") in owners]


def _changed(change: dict[str, Any]) -> str:
    when = datetime.datetime.fromtimestamp(change["at"] / 1e9).strftime("%H:%M:%S")
    operation = change["operation"] or {}
    title, id_ = operation.get("title", ""), str(operation.get("id", ""))[:12]
    verb = {"create": "Created", "delete": "Deleted"}.get(change["verb"], "Changed")
    return f"{verb} at {when} by {change['by']}, in: {title} (sampan trace {id_})"
