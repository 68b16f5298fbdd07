"""The life of pods: containers in their order, probes, hooks, restarts, endings, and what they run with."""

from __future__ import annotations

import json
import time

import pytest
from tests.cluster.conftest import Space
from tests.cluster.manifests import pod
from tests.cluster.waiting import eventually

from sampan.machinery.objects import Object

pytestmark = pytest.mark.root


def status(space: Space, name: str, container: str = "main") -> Object:
    """A container's status; empty while it has none."""
    said = space.get("pod", name)["status"]
    each = said.get("containerStatuses", []) + said.get("initContainerStatuses", [])
    found: Object = next((s for s in each if s["name"] == container), {})
    return found


def reasons(space: Space, name: str) -> set[str]:
    """The reasons of a pod's events."""
    return {e["reason"] for e in space.list("events", f"--field-selector=involvedObject.name={name}")}


def messages(space: Space, name: str) -> str:
    return "\n".join(
        e["message"] for e in space.list("events", f"--field-selector=involvedObject.name={name}")
    )


# Order


def test_init_containers_run_one_after_the_other_and_before_the_rest(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            restartPolicy: Never
            volumes: [{name: notes, emptyDir: {}}]
            initContainers:
            - {name: one, image: 'busybox:1', command: [sh, -c, 'sleep 0.3; echo one >>/notes/n'],
               volumeMounts: [{name: notes, mountPath: /notes}]}
            - {name: two, image: 'busybox:1', command: [sh, -c, 'echo two >>/notes/n'],
               volumeMounts: [{name: notes, mountPath: /notes}]}
            containers:
            - {name: main, image: 'busybox:1', command: [cat, /notes/n],
               volumeMounts: [{name: notes, mountPath: /notes}]}
            """,
        )
    )
    assert space.ended("p") == "one\ntwo\n"
    assert [
        s["state"]["terminated"]["reason"] for s in space.get("pod", "p")["status"]["initContainerStatuses"]
    ] == [
        "Completed",
        "Completed",
    ]


def test_an_init_container_that_fails_holds_the_rest_back(space: Space) -> None:
    spec = """
        restartPolicy: {policy}
        initContainers: [{{name: first, image: 'busybox:1', command: ['false']}}]
        containers: [{{name: main, image: 'busybox:1', command: [sleep, '60']}}]
        """
    space.apply(pod("never", spec.format(policy="Never")), pod("always", spec.format(policy="Always")))
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/never", "--timeout=30s")
    assert "Init:Error" in space.kubectl("get", "pod", "never")
    eventually(lambda: "Init:CrashLoopBackOff" in space.kubectl("get", "pod", "always"))
    assert space.get("pod", "always")["status"]["phase"] == "Pending"
    assert status(space, "always", "main")["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_a_sidecar_starts_first_ends_last_and_holds_no_pod_open(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            restartPolicy: Never
            terminationGracePeriodSeconds: 5
            initContainers:
            - name: side
              image: busybox:1
              restartPolicy: Always
              command: [sh, -c, 'trap "echo told; exit 0" TERM; mkdir /w; echo hi >/w/index.html;
                httpd -p 8000 -h /w; while :; do sleep 0.1; done']
              startupProbe: {httpGet: {port: 8000, path: /}, periodSeconds: 1}
            containers:
            - {name: main, image: 'busybox:1', command: [wget, -qO-, 'http://127.0.0.1:8000/']}
            """,
        )
    )
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/p", "--timeout=60s")
    assert space.kubectl("logs", "p", "-c", "main") == "hi\n"
    assert space.kubectl("logs", "p", "-c", "side") == "told\n"


# Probes and hooks


def test_readiness_follows_its_probe_both_ways(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            containers:
            - name: main
              image: busybox:1
              command: [sleep, '600']
              readinessProbe: {exec: {command: [test, -e, /tmp/ok]}, periodSeconds: 1, failureThreshold: 1}
            """,
        )
    )
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/p", "--timeout=30s")
    eventually(lambda: "Unhealthy" in reasons(space, "p"))
    assert "0/1" in space.kubectl("get", "pod", "p")
    space.kubectl("exec", "p", "--", "touch", "/tmp/ok")
    space.ready("p")
    space.kubectl("exec", "p", "--", "rm", "/tmp/ok")
    space.kubectl("wait", "--for=condition=Ready=false", "pod/p", "--timeout=30s")
    assert status(space, "p")["restartCount"] == 0


@pytest.mark.parametrize(
    "probe",
    [
        "exec: {command: [test, -e, /w/ok]}",
        "httpGet: {port: 8000, path: /ok, httpHeaders: [{name: X-From, value: probe}]}",
        "tcpSocket: {port: web}",
    ],
    ids=["exec", "httpGet", "tcpSocket"],
)
def test_a_liveness_probe_that_fails_restarts_the_container(space: Space, probe: str) -> None:
    space.apply(
        pod(
            "p",
            f"""
            containers:
            - name: main
              image: busybox:1
              command: [sh, -c, 'mkdir /w; touch /w/ok; httpd -p 8000 -h /w; sleep 2; rm /w/ok; killall httpd;
                sleep 600']
              ports: [{{name: web, containerPort: 8000}}]
              livenessProbe: {{{probe}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 1}}
            """,
        )
    )
    space.ready("p")
    eventually(lambda: status(space, "p")["restartCount"] >= 1)
    assert status(space, "p")["lastState"]["terminated"]["exitCode"] == 137
    assert {"Unhealthy", "Killing"} <= reasons(space, "p")
    assert "Liveness probe failed" in messages(space, "p")


def test_a_startup_probe_holds_the_others_back(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            containers:
            - name: main
              image: busybox:1
              command: [sh, -c, 'sleep 2.5; touch /tmp/ok; sleep 600']
              startupProbe: {exec: {command: [test, -e, /tmp/ok]}, periodSeconds: 1, failureThreshold: 20}
              livenessProbe: {exec: {command: [test, -e, /tmp/ok]}, periodSeconds: 1, failureThreshold: 1}
            """,
        )
    )
    eventually(lambda: status(space, "p").get("started") is False)
    space.ready("p")
    assert (status(space, "p")["started"], status(space, "p")["restartCount"]) == (True, 0)


def test_hooks_run_after_the_start_and_before_the_stop(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            terminationGracePeriodSeconds: 10
            volumes: [{name: notes, hostPath: {path: NOTES, type: DirectoryOrCreate}}]
            containers:
            - name: main
              image: busybox:1
              command: [sh, -c, 'trap "echo term >>/notes/n; exit 0" TERM; while :; do sleep 0.1; done']
              volumeMounts: [{name: notes, mountPath: /notes}]
              lifecycle:
                postStart: {exec: {command: [sh, -c, 'echo started >>/notes/n']}}
                preStop: {exec: {command: [sh, -c, 'echo stopping >>/notes/n; sleep 0.5; echo stop >>/notes/n']}}
            """.replace("NOTES", str(space.cluster.config.state / space.name)),
        )
    )
    space.ready("p")
    space.kubectl("delete", "pod", "p", "--timeout=30s")
    notes = space.cluster.config.state / space.name / "n"
    assert notes.read_text().split() == ["started", "stopping", "stop", "term"]


def test_a_post_start_hook_that_fails_restarts_its_container(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            containers:
            - name: main
              image: busybox:1
              command: [sleep, '600']
              lifecycle: {postStart: {exec: {command: [sh, -c, 'echo no such luck; exit 3']}}}
            """,
        )
    )
    eventually(lambda: "FailedPostStartHook" in reasons(space, "p"))
    eventually(lambda: status(space, "p")["restartCount"] >= 1)


# Endings and restarts


def test_a_crash_looping_container_is_restarted_ever_later_and_its_last_log_kept(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            containers:
            - {name: main, image: 'busybox:1', command: [sh, -c, 'echo run at $(cat /proc/uptime); exit 4']}
            """,
        )
    )
    eventually(lambda: "CrashLoopBackOff" in space.kubectl("get", "pod", "p"))
    assert "BackOff" in eventually(lambda: reasons(space, "p") & {"BackOff"})  # type: ignore[operator]
    waiting = status(space, "p")["state"]["waiting"]
    assert waiting["message"].startswith("back-off 10s restarting failed container=main")
    assert status(space, "p")["lastState"]["terminated"]["exitCode"] == 4
    first = space.kubectl("logs", "p")
    assert first.startswith("run at ")
    eventually(lambda: space.kubectl("logs", "-p", "p") not in ("", first), 60)


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 7, "Failed"), ("OnFailure", 0, "Succeeded")],
)
def test_the_restart_policy_decides_how_a_pod_ends(space: Space, policy: str, code: int, phase: str) -> None:
    space.apply(
        pod(
            "p",
            f"""
            restartPolicy: {policy}
            containers: [{{name: main, image: 'busybox:1', command: [sh, -c, 'exit {code}']}}]
            """,
        )
    )
    space.ended("p", phase)
    assert status(space, "p")["state"]["terminated"]["exitCode"] == code
    assert status(space, "p")["restartCount"] == 0


def test_on_failure_restarts_until_it_succeeds(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            restartPolicy: OnFailure
            volumes: [{name: notes, emptyDir: {}}]
            containers:
            - name: main
              image: busybox:1
              command: [sh, -c, 'test -e /notes/once || { touch /notes/once; exit 1; }; echo second time']
              volumeMounts: [{name: notes, mountPath: /notes}]
            """,
        )
    )
    assert space.ended("p") == "second time\n"
    assert status(space, "p")["restartCount"] == 1
    assert "BackOff" not in reasons(space, "p"), "the first restart waits for nothing"


def test_termination_messages_come_from_the_file_or_from_the_log(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            restartPolicy: Never
            containers:
            - {name: main, image: 'busybox:1', command: [sh, -c, 'echo -n last words >/dev/termination-log']}
            - {name: other, image: 'busybox:1', command: [sh, -c, 'echo -n elsewhere >/tmp/end'],
               terminationMessagePath: /tmp/end}
            - {name: log, image: 'busybox:1', command: [sh, -c, 'echo first; echo it broke; exit 1'],
               terminationMessagePolicy: FallbackToLogsOnError}
            """,
        )
    )
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/p", "--timeout=30s")
    said = {c: status(space, "p", c)["state"]["terminated"].get("message") for c in ("main", "other", "log")}
    assert said == {"main": "last words", "other": "elsewhere", "log": "first\nit broke\n"}


def test_a_container_is_asked_to_end_and_killed_after_its_grace(space: Space) -> None:
    space.apply(
        pod(
            "polite",
            """
            terminationGracePeriodSeconds: 30
            containers: [{name: main, image: 'busybox:1',
              command: [sh, -c, 'trap "exit 0" TERM; while :; do sleep 0.1; done']}]
            """,
        ),
        pod(
            "deaf",
            """
            terminationGracePeriodSeconds: 2
            containers: [{name: main, image: 'busybox:1', command: [sh, -c, 'trap "" TERM; while :; do sleep 1; done']}]
            """,
        ),
    )
    space.ready("polite")
    space.ready("deaf")
    begun = time.monotonic()
    space.kubectl("delete", "pod", "polite", "--timeout=25s")
    space.kubectl("delete", "pod", "deaf", "--wait=false")
    assert "Terminating" in space.kubectl("get", "pod", "deaf")
    space.kubectl("wait", "--for=delete", "pod/deaf", "--timeout=25s")
    assert time.monotonic() - begun > 2, "the deaf one had its grace"


def test_force_deletion_does_not_wait(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            terminationGracePeriodSeconds: 300
            containers: [{name: main, image: 'busybox:1', command: [sleep, '600']}]
            """,
        )
    )
    space.ready("p")
    space.kubectl("delete", "pod", "p", "--force", "--grace-period=0", "--timeout=20s")
    assert space.list("pods") == []


def test_an_active_deadline_fails_the_pod(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            activeDeadlineSeconds: 1
            containers: [{name: main, image: 'busybox:1', command: [sleep, '600']}]
            """,
        )
    )
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/p", "--timeout=30s")
    said = space.get("pod", "p")["status"]
    assert (said["reason"], said["message"]) == (
        "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline",
    )


# Images


def test_an_image_that_does_not_exist_is_told_and_tried_again(space: Space) -> None:
    space.apply(pod("p", "containers: [{name: main, image: 'registry.invalid/no/such:1'}]"))
    eventually(lambda: "ErrImagePull" in space.kubectl("get", "pod", "p"))
    eventually(lambda: "ImagePullBackOff" in space.kubectl("get", "pod", "p"))
    assert {"Pulling", "Failed", "BackOff"} <= reasons(space, "p")
    assert 'Failed to pull image "registry.invalid/no/such:1"' in messages(space, "p")
    assert space.kubectl("logs", "p", check=False) == (
        'Error from server (BadRequest): container "main" in pod "p" is waiting to start: '
        "trying and failing to pull image\n"
    )
    space.kubectl("set", "image", "pod/p", "main=busybox:1")
    eventually(lambda: "restartCount" in status(space, "p") and "busybox:1" in status(space, "p")["image"])


def test_pull_policy_never_uses_what_is_there_or_says_so(space: Space) -> None:
    spec = "containers: [{{name: main, image: '{}', imagePullPolicy: Never, command: [sleep, '60']}}]"
    space.apply(pod("here", spec.format("busybox:1")), pod("missing", spec.format("busybox:none")))
    space.ready("here")
    eventually(lambda: "ErrImageNeverPull" in space.kubectl("get", "pod", "missing"))
    assert 'Container image "busybox:none" is not present with pull policy of Never' in messages(
        space, "missing"
    )


def test_a_program_that_does_not_exist_is_told(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            restartPolicy: Never
            containers: [{name: main, image: 'busybox:1', command: [/nope]}]
            """,
        )
    )
    eventually(lambda: status(space, "p").get("state", {}).get("terminated"))
    ended = status(space, "p")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "no such file or directory" in ended["message"]


# What a container runs with


def test_environment_of_every_source(space: Space) -> None:
    space.kubectl("create", "configmap", "settings", "--from-literal=COLOUR=blue", "--from-literal=SIZE=9")
    space.kubectl("create", "secret", "generic", "keys", "--from-literal=DOOR=1234")
    space.kubectl("create", "service", "clusterip", "db", "--tcp=5432")
    host, port = space.kubectl(
        "get", "svc", "db", "-o", "jsonpath={.spec.clusterIP} {.spec.ports[0].port}"
    ).split()
    space.apply(
        pod(
            "p",
            """
            restartPolicy: Never
            containers:
            - name: main
              image: busybox:1
              command: [env]
              resources: {limits: {cpu: 1500m, memory: 64Mi}}
              envFrom: [{configMapRef: {name: settings}, prefix: CM_}, {secretRef: {name: keys}},
                        {configMapRef: {name: absent, optional: true}}]
              env:
              - {name: PLAIN, value: plain}
              - {name: BUILT, value: '$(PLAIN)-$(CM_SIZE) $$(PLAIN) $(NOT_THERE)'}
              - {name: ONE_KEY, valueFrom: {configMapKeyRef: {name: settings, key: COLOUR}}}
              - {name: ONE_SECRET, valueFrom: {secretKeyRef: {name: keys, key: DOOR}}}
              - {name: OPTIONAL, valueFrom: {secretKeyRef: {name: keys, key: none, optional: true}}}
              - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
              - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
              - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
              - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
              - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
              - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
              - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
              - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
            """,
            labels="{app: shop}",
        )
    )
    seen = dict(line.split("=", 1) for line in space.ended("p").splitlines())
    told = space.get("pod", "p")
    wanted = {
        "CM_COLOUR": "blue",
        "DOOR": "1234",
        "BUILT": "plain-9 $(PLAIN) $(NOT_THERE)",
        "ONE_KEY": "blue",
        "ONE_SECRET": "1234",
        "POD": "p",
        "APP": "shop",
        "IP": told["status"]["podIP"],
        "HOST_IP": told["status"]["hostIP"],
        "NODE": told["spec"]["nodeName"],
        "ACCOUNT": "default",
        "CPUS": "2",
        "MEMORY": "64",
        "HOSTNAME": "p",
        "DB_SERVICE_HOST": host,
        "DB_SERVICE_PORT": port,
        "KUBERNETES_SERVICE_PORT": "443",
    }
    assert {k: seen.get(k) for k in wanted} == wanted
    assert "OPTIONAL" not in seen


def test_a_missing_configmap_holds_the_container_until_it_is_made(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            containers: [{name: main, image: 'busybox:1', command: [sleep, '60'],
              envFrom: [{configMapRef: {name: later}}]}]
            """,
        )
    )
    eventually(lambda: "CreateContainerConfigError" in space.kubectl("get", "pod", "p"))
    assert 'configmap "later" not found' in status(space, "p")["state"]["waiting"]["message"]
    space.kubectl("create", "configmap", "later", "--from-literal=A=1")
    space.ready("p")


def test_limits_are_set_in_the_containers_cgroup(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            restartPolicy: Never
            containers:
            - name: main
              image: busybox:1
              resources: {limits: {cpu: 500m, memory: 64Mi}, requests: {cpu: 250m}}
              command:
              - sh
              - -c
              - |
                cd /sys/fs/cgroup
                if [ -e memory.max ]; then cat memory.max cpu.max; else
                cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares; fi
            """,
        )
    )
    figures = space.ended("p").split()
    assert figures[:3] == ["67108864", "50000", "100000"]
    assert figures[3:] in ([], ["256"])
    assert space.get("pod", "p")["status"]["qosClass"] == "Burstable"


def test_too_much_memory_is_oom_killed(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            restartPolicy: Never
            containers:
            - name: main
              image: busybox:1
              resources: {limits: {memory: 16Mi}}
              command: [sh, -c, 'exec tail /dev/zero']
            """,
        )
    )
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/p", "--timeout=60s")
    ended = status(space, "p")["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_security_context(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            restartPolicy: Never
            securityContext: {runAsUser: 1000, runAsGroup: 1001, fsGroup: 2000, supplementalGroups: [3000],
                              runAsNonRoot: true}
            volumes: [{name: data, emptyDir: {}}]
            containers:
            - name: main
              image: busybox:1
              securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false,
                                capabilities: {drop: [ALL]}}
              volumeMounts: [{name: data, mountPath: /data}]
              command:
              - sh
              - -c
              - |
                echo $(id -u) $(id -g) $(id -G)
                touch /file 2>&1
                touch /data/file && stat -c %g /data/file
                grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status
            """,
        )
    )
    lines = space.ended("p").splitlines()
    uid, gid, *groups = lines[0].split()
    assert (uid, gid, set(groups)) == ("1000", "1001", {"1001", "2000", "3000"})
    assert "Read-only file system" in lines[1]
    assert lines[2] == "2000"
    assert dict(line.split(":\t") for line in lines[3:]) == {
        "CapEff": "0" * 16,
        "CapBnd": "0" * 16,
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }


def test_capabilities_privilege_and_seccomp(space: Space) -> None:
    spec = """
        restartPolicy: Never
        containers:
        - name: main
          image: busybox:1
          securityContext: {}
          command: [sh, -c, 'grep -E "CapEff|Seccomp:" /proc/self/status;
            ip link add d0 type dummy 2>&1; ls /dev | wc -l']
        """
    space.apply(
        pod("plain", spec.format("{}")),
        pod("netadmin", spec.format("{capabilities: {add: [NET_ADMIN]}}")),
        pod("unconfined", spec.format("{seccompProfile: {type: Unconfined}}")),
        pod("privileged", spec.format("{privileged: true}")),
    )
    said = {
        name: space.ended(name).splitlines() for name in ("plain", "netadmin", "unconfined", "privileged")
    }
    assert said["plain"][:2] == ["CapEff:\t00000000a80425fb", "Seccomp:\t2"]
    assert "Operation not permitted" in said["plain"][2]
    assert said["netadmin"][0] == "CapEff:\t00000000a80435fb"
    assert "not permitted" not in said["netadmin"][2]
    assert said["unconfined"][1] == "Seccomp:\t0"
    assert int(said["privileged"][0].split("\t")[1], 16) & (1 << 21), "CAP_SYS_ADMIN"
    assert int(said["privileged"][-1]) > int(said["plain"][-1])


def test_run_as_non_root_refuses_an_image_that_runs_as_root(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            securityContext: {runAsNonRoot: true}
            containers: [{name: main, image: 'busybox:1'}]
            """,
        )
    )
    eventually(lambda: "CreateContainerConfigError" in space.kubectl("get", "pod", "p"))
    assert (
        "container has runAsNonRoot and image will run as root"
        in status(space, "p")["state"]["waiting"]["message"]
    )


def test_what_a_node_cannot_keep_is_refused_not_run_otherwise(space: Space) -> None:
    sleep = "containers: [{name: main, image: 'busybox:1', command: [sleep, '600']}]"
    space.apply(pod("users", f"hostUsers: false\n{sleep}"), pod("windows", f"os: {{name: windows}}\n{sleep}"))
    eventually(lambda: "FailedCreatePodSandBox" in reasons(space, "users"))
    assert "user namespaces are not supported" in messages(space, "users")
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/windows", "--timeout=30s")
    assert space.get("pod", "windows")["status"]["reason"] == "PodOSNotSupported"


def test_a_pod_that_was_bound_past_the_scheduler_and_does_not_fit_fails(space: Space) -> None:
    node = space.kubectl("get", "nodes", "-o", "name").split()[0].removeprefix("node/")
    container = "containers: [{name: main, image: 'busybox:1', command: [sleep, '600'],"
    space.apply(
        pod("big", f"nodeName: {node}\n{container} resources: {{requests: {{cpu: 900}}}}}}]"),
        pod("first", f"nodeName: {node}\n{container} ports: [{{containerPort: 80, hostPort: 18080}}]}}]"),
    )
    space.kubectl("wait", "--for=condition=Ready", "pod/first", "--timeout=30s")
    space.apply(
        pod("second", f"nodeName: {node}\n{container} ports: [{{containerPort: 80, hostPort: 18080}}]}}]")
    )
    for name in ("big", "second"):
        space.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", f"pod/{name}", "--timeout=30s")
    eventually(lambda: "OutOfcpu" in reasons(space, "big"))
    eventually(lambda: "NodePorts" in reasons(space, "second"))
    assert "free ports" in space.get("pod", "second")["status"]["message"]


def test_a_pod_that_fills_its_empty_dir_beyond_its_limit_is_evicted(space: Space) -> None:
    spec = """
containers:
- name: main
  image: busybox:1
  command: [sh, -c, "dd if=/dev/zero of=/data/file bs=1M count=8; sleep 600"]
  volumeMounts: [{name: data, mountPath: /data}]
volumes: [{name: data, emptyDir: {sizeLimit: 4Mi}}]
terminationGracePeriodSeconds: 1
"""
    space.apply(pod("p", spec))
    space.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/p", "--timeout=60s")
    status = space.get("pod", "p")["status"]
    assert status["reason"] == "Evicted"
    assert 'EmptyDir volume "data" exceeds the limit "4Mi"' in status["message"]
    assert "DisruptionTarget" in [c["type"] for c in status["conditions"] if c["status"] == "True"]
    eventually(lambda: "Evicted" in reasons(space, "p"))


# Names, networks and namespaces


def test_hostname_subdomain_and_host_aliases(space: Space) -> None:
    space.apply(
        pod(
            "p",
            """
            restartPolicy: Never
            hostname: front
            subdomain: shop
            hostAliases: [{ip: 192.0.2.1, hostnames: [old.example]}]
            containers: [{name: main, image: 'busybox:1', command: [sh, -c, 'hostname; hostname -f; cat /etc/hosts']}]
            """,
        )
    )
    name, full, *hosts = space.ended("p").splitlines()
    assert (name, full) == ("front", f"front.shop.{space.name}.svc.cluster.local")
    assert "192.0.2.1\told.example" in hosts


def test_dns_policies(space: Space) -> None:
    spec = """
        restartPolicy: Never
        {}
        containers: [{{name: main, image: 'busybox:1', command: [cat, /etc/resolv.conf]}}]
        """
    own = "searches: [a.example], options: [{name: ndots, value: '2'}]}"
    space.apply(
        pod("first", spec.format("")),
        pod("node", spec.format("dnsPolicy: Default")),
        pod("own", spec.format("dnsPolicy: None\n        dnsConfig: {nameservers: [192.0.2.53], " + own)),
    )
    domain = "cluster.local"
    assert set(space.ended("first").splitlines()) == {
        f"search {space.name}.svc.{domain} svc.{domain} {domain}",
        f"nameserver {space.cluster.config.ranges.dns}",
        "options ndots:5",
    }
    assert space.cluster.config.ranges.dns not in space.ended("node")
    assert set(space.ended("own").splitlines()) == {
        "search a.example",
        "nameserver 192.0.2.53",
        "options ndots:2",
    }


def test_host_network_and_shared_process_namespace(space: Space) -> None:
    space.apply(
        pod(
            "host",
            """
            restartPolicy: Never
            hostNetwork: true
            containers: [{name: main, image: 'busybox:1', command: [ls, /sys/class/net]}]
            """,
        ),
        pod(
            "shared",
            """
            shareProcessNamespace: true
            containers:
            - {name: main, image: 'busybox:1', command: [sleep, '600']}
            - {name: other, image: 'busybox:1', command: [sleep, '601']}
            """,
        ),
        pod(
            "apart",
            """
            containers:
            - {name: main, image: 'busybox:1', command: [sleep, '600']}
            - {name: other, image: 'busybox:1', command: [sleep, '601']}
            """,
        ),
    )
    assert space.cluster.config.ranges.bridge in space.ended("host").split()
    told = space.get("pod", "host")["status"]
    assert told["podIP"] == told["hostIP"]
    space.ready("shared")
    space.ready("apart")
    assert "sleep 601" in space.kubectl("exec", "shared", "-c", "main", "--", "ps")
    assert "sleep 601" not in space.kubectl("exec", "apart", "-c", "main", "--", "ps")


def test_ephemeral_containers_join_a_running_pod(space: Space) -> None:
    space.apply(pod("p", "containers: [{name: main, image: 'busybox:1', command: [sleep, '600']}]"))
    space.ready("p")
    space.kubectl(
        "debug", "p", "--image=busybox:1", "--container=look", "--", "sh", "-c", "echo here; hostname"
    )
    eventually(lambda: space.kubectl("logs", "p", "-c", "look", check=False) == "here\np\n")
    assert json.loads(space.kubectl("get", "pod", "p", "-o", "json"))["status"]["ephemeralContainerStatuses"]
