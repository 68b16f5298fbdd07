"""Volumes of every kind the node makes, and their changes while a pod runs."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from tests.cluster.conftest import Space
from tests.cluster.manifests import pod
from tests.cluster.waiting import eventually

pytestmark = pytest.mark.root

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


def mounting(
    name: str, volume: str, command: str, mount: str = "mountPath: /v", *, policy: str = "Never"
) -> str:
    """A pod whose one container has one volume and runs a shell command."""
    return pod(
        name,
        f"""
        restartPolicy: {policy}
        volumes: [{{name: v, {volume}}}]
        containers:
        - name: main
          image: busybox:1
          command: [sh, -c, '{command}']
          volumeMounts: [{{name: v, {mount}}}]
        """,
        labels="{app: box}",
    )


def cat(space: Space, name: str, file: str) -> str:
    return space.kubectl("exec", name, "--", "cat", file, check=False)


def test_empty_dirs_are_shared_by_containers_and_go_with_the_pod(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            volumes: [{name: disk, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory, sizeLimit: 4Mi}}]
            containers:
            - {name: main, image: 'busybox:1', command: [sh, -c, 'echo hi >/disk/f; sleep 600'],
               volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]}
            - {name: other, image: 'busybox:1', command: [sleep, '600'],
               volumeMounts: [{name: disk, mountPath: /d, readOnly: true}]}
            """,
        )
    )
    space.ready("p")
    assert space.kubectl("exec", "p", "-c", "other", "--", "cat", "/d/f") == "hi\n"
    assert "Read-only" in space.kubectl("exec", "p", "-c", "other", "--", "touch", "/d/g", check=False)
    assert "tmpfs /memory tmpfs" in space.kubectl("exec", "p", "-c", "main", "--", "cat", "/proc/mounts")
    fill = ["exec", "p", "-c", "main", "--", "dd", "if=/dev/zero", "of=/memory/f", "bs=1M", "count=8"]
    assert "No space left" in space.kubectl(*fill, check=False)
    uid = space.get("pod", "p")["metadata"]["uid"]
    state = space.cluster.config.state
    assert list(state.glob(f"nodes/*/kubelet/pods/{uid}"))
    space.kubectl("delete", "pod", "p")
    eventually(lambda: not list(state.glob(f"nodes/*/kubelet/pods/{uid}")))


def test_config_maps_and_secrets_as_files_follow_their_objects(space: Space) -> None:
    space.kubectl("create", "configmap", "settings", "--from-literal=colour=blue", "--from-literal=size=9")
    space.kubectl("create", "secret", "generic", "keys", "--from-literal=door=1234")
    space.apply(
        mounting("settings", "configMap: {name: settings}", "sleep 600"),
        mounting("keys", "secret: {secretName: keys, defaultMode: 0400}", "sleep 600"),
        mounting(
            "one", "configMap: {name: settings, items: [{key: colour, path: a/b, mode: 0600}]}", "sleep 600"
        ),
        mounting(
            "fixed", "configMap: {name: settings}", "sleep 600", "mountPath: /v/colour, subPath: colour"
        ),
    )
    for name in ("settings", "keys", "one", "fixed"):
        space.ready(name)
    assert [cat(space, "settings", f"/v/{k}") for k in ("colour", "size")] == ["blue", "9"]
    assert space.kubectl("exec", "keys", "--", "stat", "-Lc", "%a", "/v/door") == "400\n"
    assert (cat(space, "one", "/v/a/b"), "size" in space.kubectl("exec", "one", "--", "ls", "/v")) == (
        "blue",
        False,
    )
    space.kubectl("patch", "configmap", "settings", "-p", '{"data":{"colour":"green"}}')
    space.kubectl("patch", "secret", "keys", "-p", '{"stringData":{"door":"5678"}}')
    eventually(lambda: cat(space, "settings", "/v/colour") == "green", 90)
    eventually(lambda: cat(space, "one", "/v/a/b") == "green", 90)
    eventually(lambda: cat(space, "keys", "/v/door") == "5678", 90)
    assert cat(space, "fixed", "/v/colour") == "blue", "a subPath stays as it was mounted"


def test_a_missing_secret_holds_the_pod_until_it_is_made(space: Space) -> None:
    space.apply(mounting("p", "secret: {secretName: later}", "cat /v/a"))
    eventually(lambda: "FailedMount" in space.kubectl("get", "events"))
    assert 'secret "later" not found' in space.kubectl("get", "events")
    assert "ContainerCreating" in space.kubectl("get", "pod", "p")
    space.kubectl("create", "secret", "generic", "later", "--from-literal=a=here")
    assert space.ended("p") == "here"


def test_the_downward_api_follows_labels_and_annotations(space: Space) -> None:
    items = """downwardAPI: {items: [
        {path: labels, fieldRef: {fieldPath: metadata.labels}},
        {path: name, fieldRef: {fieldPath: metadata.name}},
        {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}]}"""
    space.apply(mounting("p", items, "sleep 600"))
    space.ready("p")
    assert cat(space, "p", "/v/name") == "p"
    assert cat(space, "p", "/v/labels") == 'app="box"'
    assert int(cat(space, "p", "/v/cpu")) >= 1000
    space.kubectl("label", "pod", "p", "tier=front")
    eventually(lambda: cat(space, "p", "/v/labels") == 'app="box"\ntier="front"', 90)


def test_a_projected_volume_joins_several_sources(space: Space) -> None:
    space.kubectl("create", "configmap", "settings", "--from-literal=colour=blue")
    space.kubectl("create", "secret", "generic", "keys", "--from-literal=door=1234")
    sources = """projected: {sources: [
        {configMap: {name: settings}},
        {secret: {name: keys, items: [{key: door, path: secret/door}]}},
        {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}},
        {serviceAccountToken: {path: token, audience: vault, expirationSeconds: 600}}]}"""
    space.apply(mounting("p", sources, "cd /v; cat colour secret/door name; echo; cut -d. -f2 token"))
    first, claims = space.ended("p").splitlines()
    assert first == "blue1234p"
    assert '"aud":["vault"]' in _decoded(claims)
    assert f'"system:serviceaccount:{space.name}:default"' in _decoded(claims)


def _decoded(part: str) -> str:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode().replace(": ", ":")


def test_a_pod_reaches_the_api_with_its_token_and_no_further_than_its_roles(space: Space) -> None:
    ns = space.name
    space.kubectl("create", "serviceaccount", "bot")
    space.kubectl("create", "role", "reader", "--verb=list", "--resource=pods")
    space.kubectl("create", "rolebinding", "reads", "--role=reader", f"--serviceaccount={ns}:bot")
    get = (
        'wget -S -qO /dev/null --no-check-certificate --header "Authorization: Bearer '
        '$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)" https://kubernetes.default.svc/api/v1'
    )
    space.apply(
        pod(
            "p",
            f"""
            serviceAccountName: bot
            restartPolicy: Never
            volumes: [{{name: usr, hostPath: {{path: /usr}}}}, {{name: lib, hostPath: {{path: /lib}}}},
                      {{name: lib64, hostPath: {{path: /lib64}}}}]
            containers:
            - name: main
              image: busybox:1
              env: [{{name: PATH, value: '/bin:/usr/bin'}}]  # for openssl, which wget uses where it is
              volumeMounts: [{{name: usr, mountPath: /usr}}, {{name: lib, mountPath: /lib}},
                             {{name: lib64, mountPath: /lib64}}]
              command:
              - sh
              - -c
              - |
                ls /var/run/secrets/kubernetes.io/serviceaccount | tr '\\n' ' '
                cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo
                {get}/namespaces/{ns}/pods 2>&1 | grep '^ *HTTP/'
                {get}/namespaces/{ns}/secrets 2>&1 | grep '^ *HTTP/'
                {get}/namespaces/kube-system/pods 2>&1 | grep '^ *HTTP/'
            """,
        ),
        pod(
            "without",
            """
            automountServiceAccountToken: false
            restartPolicy: Never
            containers: [{name: main, image: 'busybox:1', command: [sh, -c, 'ls /var/run/secrets 2>&1']}]
            """,
        ),
    )
    files, *answers = space.ended("p").splitlines()
    assert files == f"ca.crt namespace token {ns}"
    assert [line.split()[1] for line in answers] == ["200", "403", "403"]
    assert "No such file" in (space.ended("without", "Failed"))


def test_host_paths_of_each_type(space: Space, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("from the host")
    tmp_path.chmod(0o755)
    space.apply(
        mounting(
            "dir", f"hostPath: {{path: {tmp_path}, type: Directory}}", "cat /v/here; echo back >/v/back"
        ),
        mounting("made", f"hostPath: {{path: {tmp_path}/new/deep, type: DirectoryOrCreate}}", "touch /v/f"),
        mounting("file", f"hostPath: {{path: {tmp_path}/here, type: File}}", "cat /v"),
        mounting("wrong", f"hostPath: {{path: {tmp_path}/none, type: Directory}}", "true"),
    )
    assert (space.ended("dir"), space.ended("file")) == ("from the host", "from the host")
    space.ended("made")
    assert ((tmp_path / "back").read_text(), (tmp_path / "new/deep/f").exists()) == ("back\n", True)
    eventually(lambda: "hostPath type check failed" in space.kubectl("get", "events"))


def test_a_claim_outlives_its_pods_and_takes_its_data_with_it(space: Space) -> None:
    space.apply(CLAIM)
    eventually(lambda: "WaitForFirstConsumer" in space.kubectl("get", "events"))
    assert space.get("pvc", "data")["status"]["phase"] == "Pending"
    volume = "persistentVolumeClaim: {claimName: data}"
    space.apply(mounting("writer", volume, "echo kept >/v/f"))
    space.ended("writer")
    space.kubectl("delete", "pod", "writer")
    space.apply(mounting("reader", volume, "cat /v/f"))
    assert space.ended("reader") == "kept\n"
    claim = space.get("pvc", "data")
    assert (claim["status"]["phase"], claim["status"]["capacity"]) == ("Bound", {"storage": "1Gi"})
    directory = Path(space.get("pv", claim["spec"]["volumeName"])["spec"]["local"]["path"])
    assert (directory / "f").read_text() == "kept\n"
    space.kubectl("delete", "pvc", "data", "--wait=false")
    assert "Terminating" in space.kubectl("get", "pvc"), "in use by a pod, even one that has ended"
    space.kubectl("delete", "pod", "reader")
    space.kubectl("wait", "--for=delete", "pvc/data", "--timeout=30s")
    eventually(lambda: not directory.exists(), 60)  # the node looks twice a minute
    eventually(lambda: claim["spec"]["volumeName"] not in space.kubectl("get", "pv", "-o", "name"))


def test_a_claim_may_name_its_volume(space: Space, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    name = f"mine-{space.name}"
    space.apply(
        f"""
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: by-hand
  hostPath: {{path: {tmp_path}}}
""",
        """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], storageClassName: by-hand, resources: {requests: {storage: 500Mi}}}
""",
        mounting("p", "persistentVolumeClaim: {claimName: data}", "echo mine >/v/f"),
    )
    space.ended("p")
    assert (tmp_path / "f").read_text() == "mine\n"
    space.kubectl("delete", "pod", "p")
    space.kubectl("delete", "pvc", "data")
    eventually(lambda: space.get("pv", name)["status"]["phase"] == "Released")
    space.kubectl("delete", "pv", name)
    assert (tmp_path / "f").exists(), "a volume that is retained keeps its data"


def test_sub_paths_stay_within_their_volume(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            restartPolicy: Never
            volumes: [{name: v, emptyDir: {}}]
            initContainers:
            - {name: first, image: 'busybox:1', command: [sh, -c, 'mkdir -p /v/a/b; echo deep >/v/a/b/f'],
               volumeMounts: [{name: v, mountPath: /v}]}
            containers:
            - name: main
              image: busybox:1
              env: [{name: WHERE, value: b}]
              command: [sh, -c, 'cat /sub/f; cat /named/f; ls /made']
              volumeMounts:
              - {name: v, mountPath: /sub, subPath: a/b}
              - {name: v, mountPath: /named, subPathExpr: a/$(WHERE)}
              - {name: v, mountPath: /made, subPath: fresh}
            """,
        )
    )
    assert space.ended("p") == "deep\ndeep\n"
    space.apply(
        pod(
            "escape",
            """
            restartPolicy: Never
            volumes: [{name: v, emptyDir: {}}]
            initContainers:
            - {name: first, image: 'busybox:1', command: [ln, -s, /, /v/out], volumeMounts: [{name: v, mountPath: /v}]}
            containers:
            - {name: main, image: 'busybox:1', command: [ls, /host],
               volumeMounts: [{name: v, mountPath: /host, subPath: out}]}
            """,
        )
    )
    eventually(lambda: "CreateContainerConfigError" in space.kubectl("get", "pod", "escape"))
