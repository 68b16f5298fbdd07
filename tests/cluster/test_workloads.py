"""What controllers keep: sets, jobs, rollouts, owners and budgets, with real pods."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request

import pytest
from tests.cluster.conftest import Space
from tests.cluster.manifests import pod
from tests.cluster.waiting import eventually

from sampan.machinery.objects import Object, owner

pytestmark = pytest.mark.root

SET = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: busybox:1
        command: [sh, -c, 'test -e /data/id || hostname >/data/id; sleep 600']
        readinessProbe: {exec: {command: [test, -e, /data/id]}, periodSeconds: 1}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
"""


def names(objects: list[Object]) -> list[str]:
    return sorted(o["metadata"]["name"] for o in objects)


def test_a_stateful_set_has_stable_names_in_order_and_a_volume_for_each(space: Space) -> None:
    space.apply(SET)
    space.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    pods = {p["metadata"]["name"]: p for p in space.list("pods")}
    assert sorted(pods) == ["db-0", "db-1", "db-2"]
    ready = [
        next(c for c in p["status"]["conditions"] if c["type"] == "Ready") for _, p in sorted(pods.items())
    ]
    begun = [p["status"]["startTime"] for _, p in sorted(pods.items())]
    assert begun[1] >= ready[0]["lastTransitionTime"]
    assert begun[2] >= ready[1]["lastTransitionTime"]
    assert names(space.list("pvc")) == ["data-db-0", "data-db-1", "data-db-2"]
    space.kubectl("delete", "pod", "db-1")
    eventually(lambda: space.list("pods") and len(space.list("pods")) == 3)
    space.ready("db-1")
    assert space.get("pod", "db-1")["metadata"]["uid"] != pods["db-1"]["metadata"]["uid"]
    assert space.kubectl("exec", "db-1", "--", "cat", "/data/id") == "db-1\n"
    space.kubectl("scale", "statefulset/db", "--replicas=1")
    eventually(lambda: names(space.list("pods")) == ["db-0"])
    assert len(space.list("pvc")) == 3, "a scaled-down set keeps its volumes"


def test_a_job_runs_in_parallel_until_enough_have_succeeded(space: Space) -> None:
    space.apply(
        """
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec:
  completions: 4
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: 'busybox:1', command: [sh, -c, 'echo part $JOB_COMPLETION_INDEX']}]
"""
    )
    space.kubectl("wait", "--for=condition=complete", "job/j", "--timeout=60s")
    parts = [space.kubectl("logs", name) for name in names(space.list("pods"))]
    assert parts == [f"part {i}\n" for i in range(4)]
    assert space.get("job", "j")["status"]["completedIndexes"] == "0-3"
    space.kubectl("delete", "job", "j")
    eventually(lambda: not space.list("pods"))


def test_a_job_gives_up_after_its_backoff_limit(space: Space) -> None:
    space.apply(
        """
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: 'busybox:1', command: ['false']}]
"""
    )
    space.kubectl("wait", "--for=condition=Failed", "job/j", "--timeout=60s")
    conditions = {c["type"]: c for c in space.get("job", "j")["status"]["conditions"]}
    assert conditions["Failed"]["reason"] == "BackoffLimitExceeded"
    assert len(space.list("pods")) == 1


def test_a_cron_job_makes_a_job_for_the_time_that_was_missed(space: Space) -> None:
    space.kubectl("create", "cronjob", "c", "--image=busybox:1", "--schedule=0 * * * *", "--", "true")
    space.kubectl("create", "job", "now", "--from=cronjob/c")
    space.kubectl("wait", "--for=condition=complete", "job/now", "--timeout=60s")
    last = json.dumps({"status": {"lastScheduleTime": "2026-01-01T00:00:00Z"}})
    space.kubectl("patch", "cronjob", "c", "--subresource=status", "--type=merge", "-p", last)
    eventually(lambda: [n for n in names(space.list("jobs")) if n.startswith("c-")])


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: main
        image: busybox:1
        command: [sh, -c, 'mkdir /w; echo $VERSION >/w/index.html; exec httpd -f -p 8080 -h /w']
        env: [{name: VERSION, value: one}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 1}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


class Load:
    """A client that asks again and again, each time by a new connection."""

    def __init__(self, url: str):
        self.url, self.answers, self.faults, self._end = url, set[bytes](), list[str](), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.01):
            try:
                with urllib.request.urlopen(self.url, timeout=5) as answer:
                    self.answers.add(answer.read().strip())
            except (OSError, urllib.error.URLError) as e:
                self.faults.append(repr(e))


def test_a_rolling_update_fails_no_request(space: Space) -> None:
    space.apply(DEPLOYMENT)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    url = f"http://{space.get('service', 'web')['spec']['clusterIP']}/"
    eventually(lambda: _answers(url))
    with Load(url) as load:
        space.kubectl("set", "env", "deployment/web", "VERSION=two")
        space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        eventually(lambda: len(space.list("pods")) == 3)
        eventually(lambda: b"two" in load.answers)
    assert load.faults == []
    assert load.answers == {b"one", b"two"}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def test_a_bad_rollout_leaves_the_old_pods_and_is_told(space: Space) -> None:
    space.apply(DEPLOYMENT)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    space.kubectl("patch", "deployment", "web", "-p", '{"spec":{"progressDeadlineSeconds":2}}')
    space.kubectl("set", "image", "deployment/web", "main=busybox:none")
    said = space.kubectl("rollout", "status", "deployment/web", "--timeout=30s", check=False)
    assert "exceeded its progress deadline" in said
    assert space.get("deployment", "web")["status"]["availableReplicas"] == 3
    space.kubectl("rollout", "undo", "deployment/web")
    space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


REPLICAS = """
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: r}
spec:
  replicas: 2
  selector: {matchLabels: {app: r}}
  template:
    metadata: {labels: {app: r}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: 'busybox:1', command: [sleep, '600']}]
"""
SLEEP = "containers: [{name: main, image: 'busybox:1', command: [sleep, '600']}]"


def test_a_replica_set_adopts_what_matches_and_lets_go_of_what_does_not(space: Space) -> None:
    space.apply(pod("orphan", SLEEP, labels="{app: r}"))
    space.ready("orphan")
    space.apply(REPLICAS)
    eventually(lambda: space.get("replicaset", "r")["status"].get("readyReplicas") == 2)
    assert "orphan" in names(space.list("pods"))
    assert len(space.list("pods")) == 2
    assert (owner(space.get("pod", "orphan")) or {})["name"] == "r"
    space.kubectl("label", "pod", "orphan", "--overwrite", "app=other")
    eventually(lambda: len(space.list("pods")) == 3)
    assert owner(space.get("pod", "orphan")) is None


def test_pods_go_with_their_owner_unless_orphaned(space: Space) -> None:
    space.apply(REPLICAS)
    eventually(lambda: len(space.list("pods")) == 2)
    space.kubectl("delete", "replicaset", "r", "--cascade=orphan")
    assert len(space.list("pods")) == 2
    space.apply(REPLICAS)
    eventually(lambda: all(owner(p) for p in space.list("pods")))
    space.kubectl("delete", "replicaset", "r")
    eventually(lambda: not space.list("pods"))


def test_a_deleted_namespace_takes_everything_in_it(space: Space) -> None:
    other = f"{space.name}-2"
    space.kubectl("create", "namespace", other)
    space.kubectl("-n", other, "apply", "-f", "-", input=SET)
    space.kubectl("-n", other, "create", "configmap", "c")
    space.kubectl("-n", other, "wait", "--for=condition=Ready", "pod/db-0", "--timeout=60s")
    space.kubectl("delete", "namespace", other, "--timeout=60s")
    assert "NotFound" in space.kubectl("get", "namespace", other, check=False)
    assert other not in space.kubectl("get", "pods,configmaps,pvc,services", "-A")


def test_a_budget_holds_an_eviction_back(space: Space) -> None:
    space.apply(DEPLOYMENT.replace("replicas: 3", "replicas: 2"))
    space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    space.kubectl("create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=2")
    eventually(lambda: space.get("pdb", "web").get("status", {}).get("currentHealthy") == 2)
    name = names(space.list("pods"))[0]
    eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}})
    path = f"/api/v1/namespaces/{space.name}/pods/{name}/eviction"
    said = space.kubectl("create", "--raw", path, "-f", "-", input=eviction, check=False)
    assert "Cannot evict pod as it would violate the pod's disruption budget" in said
    space.kubectl("patch", "pdb", "web", "--type=merge", "-p", '{"spec":{"minAvailable":1}}')
    eventually(lambda: space.get("pdb", "web")["status"]["disruptionsAllowed"] == 1)
    assert "Success" in space.kubectl("create", "--raw", path, "-f", "-", input=eviction)
    eventually(lambda: name not in names(space.list("pods")))
    space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def test_a_quota_of_wrong_kind_is_refused_in_one_sentence(space: Space) -> None:
    said = space.kubectl(
        "apply", "-f", "-", input=REPLICAS.replace("replicas: 2", "replicas: -1"), check=False
    )
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in said
