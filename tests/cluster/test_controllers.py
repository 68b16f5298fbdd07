"""What the cluster itself limits, signs, fills in, scales and resizes, as its user sees it through kubectl."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.cluster.conftest import Space
from tests.cluster.manifests import pod
from tests.cluster.waiting import eventually

pytestmark = pytest.mark.root

SLEEP = "image: 'busybox:1', command: [sleep, '600']"


def test_a_namespace_gives_defaults_and_keeps_to_its_quota(space: Space) -> None:
    space.apply(
        """
apiVersion: v1
kind: LimitRange
metadata: {name: l}
spec: {limits: [{type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 100m}}]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: q}
spec: {hard: {pods: '2', requests.cpu: 250m, count/deployments.apps: '1'}}
"""
    )
    eventually(lambda: space.get("quota", "q").get("status", {}).get("used"))
    space.apply(f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: main, {SLEEP}}}]}}
""")
    used = {"pods": "2", "requests.cpu": "200m", "count/deployments.apps": "1"}
    eventually(lambda: space.get("quota", "q")["status"]["used"] == used)

    def refusal() -> str:
        conditions = {c["type"]: c for c in space.get("deployment", "web")["status"].get("conditions", ())}
        return str(conditions.get("ReplicaFailure", {}).get("message", ""))

    assert "exceeded quota: q, requested: pods=1" in str(eventually(refusal))
    error = space.kubectl("create", "deployment", "more", "--image=busybox:1", check=False)
    assert not space.kubectl("get", "deployment", "more", "--ignore-not-found"), error
    space.kubectl("delete", "deployment", "web")
    eventually(lambda: space.get("quota", "q")["status"]["used"]["pods"] == "0")


def test_pod_security_refuses_and_warns(space: Space) -> None:
    labels = ("pod-security.kubernetes.io/enforce=baseline", "pod-security.kubernetes.io/warn=restricted")
    space.kubectl("label", "namespace", space.name, *labels)
    privileged = f"{{name: main, {SLEEP}, securityContext: {{privileged: true}}}}"
    space.kubectl("apply", "-f", "-", input=pod("p", f"containers: [{privileged}]"), check=False)
    assert not space.list("pods")
    space.apply(pod("p", f"containers: [{{name: main, {SLEEP}}}]"))
    space.ready("p")


def test_an_approved_request_yields_a_certificate(space: Space, tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, space.name)])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(private, hashes.SHA256())
    written = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    space.apply(f"""
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: {space.name}}}
spec: {{request: {written}, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}}
""")
    space.kubectl("certificate", "approve", space.name)
    found = eventually(lambda: space.get("csr", space.name)["status"].get("certificate"))
    certificate = tmp_path / "user.crt"
    certificate.write_bytes(base64.b64decode(str(found)))
    key = tmp_path / "user.key"
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    as_user = (f"--client-certificate={certificate}", f"--client-key={key}")
    space.kubectl("config", "set-credentials", space.name, *as_user)
    said = space.kubectl(
        "auth", "whoami", f"--user={space.name}", "-o", "jsonpath={.status.userInfo.username}"
    )
    assert said == space.name
    space.kubectl("delete", "csr", space.name)


def test_a_secret_for_an_account_is_filled_and_goes_with_it(space: Space) -> None:
    space.kubectl("create", "serviceaccount", "robot")
    space.apply("""
apiVersion: v1
kind: Secret
metadata: {name: robot-token, annotations: {kubernetes.io/service-account.name: robot}}
type: kubernetes.io/service-account-token
""")
    found = eventually(lambda: space.get("secret", "robot-token").get("data", {}).get("token"))
    token = base64.b64decode(str(found)).decode()
    space.kubectl("config", "set-credentials", f"{space.name}-robot", "--token", token)
    words = ("auth", "whoami", f"--user={space.name}-robot", "-o", "jsonpath={.status.userInfo.username}")
    assert space.kubectl(*words) == f"system:serviceaccount:{space.name}:robot"
    space.kubectl("delete", "serviceaccount", "robot")
    eventually(lambda: not space.kubectl("get", "secret", "robot-token", "--ignore-not-found"))


def test_a_pod_is_resized_while_it_runs(space: Space) -> None:
    amounts = "resources: {requests: {cpu: 10m, memory: 20Mi}, limits: {cpu: 100m, memory: 40Mi}}"
    space.apply(pod("p", f"containers: [{{name: main, {SLEEP}, {amounts}}}]"))
    space.ready("p")
    before = space.get("pod", "p")["status"]["containerStatuses"][0]
    more = '{"spec":{"containers":[{"name":"main","resources":{"limits":{"memory":"64Mi","cpu":"200m"}}}]}}'
    space.kubectl("patch", "pod", "p", "--subresource", "resize", "-p", more)
    eventually(
        lambda: (
            space.get("pod", "p")["status"]["containerStatuses"][0]["resources"]["limits"]
            == {"cpu": "200m", "memory": "64Mi"}
        )
    )
    after = space.get("pod", "p")["status"]["containerStatuses"][0]
    assert after["containerID"] == before["containerID"]
    files = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    held = space.kubectl("exec", "p", "--", "sh", "-c", f"cat {files} 2>/dev/null; true")
    assert held.split() == [str(64 << 20)]


def test_an_autoscaler_follows_what_pods_use(space: Space) -> None:
    busy = "image: 'busybox:1', command: [sh, -c, 'while true; do :; done']"
    space.apply(f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: busy}}
spec:
  selector: {{matchLabels: {{app: busy}}}}
  template:
    metadata: {{labels: {{app: busy}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: main, {busy}, resources: {{requests: {{cpu: 20m}}, limits: {{cpu: 60m}}}}}}]
""")
    space.kubectl("autoscale", "deployment", "busy", "--min=1", "--max=2", "--cpu=50%")
    eventually(lambda: space.get("deployment", "busy")["spec"]["replicas"] == 2, 90)
    conditions = {c["type"]: c for c in space.get("hpa", "busy")["status"]["conditions"]}
    assert conditions["ScalingActive"]["reason"] == "ValidMetricFound"
    assert "%/50%" in space.kubectl("get", "hpa", "busy")


def test_a_claim_grows(space: Space) -> None:
    space.apply(
        """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
""",
        pod(
            "p",
            f"""
containers: [{{name: main, {SLEEP}, volumeMounts: [{{name: data, mountPath: /data}}]}}]
volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
""",
        ),
    )
    space.ready("p")
    space.kubectl("patch", "pvc", "data", "-p", '{"spec":{"resources":{"requests":{"storage":"20Mi"}}}}')
    eventually(lambda: space.get("pvc", "data")["status"]["capacity"]["storage"] == "20Mi")
    error = space.kubectl(
        "patch", "pvc", "data", "-p", '{"spec":{"resources":{"requests":{"storage":"5Mi"}}}}', check=False
    )
    assert "field can not be less than status.capacity" in error


def test_a_service_in_a_range_that_was_added_is_reached(space: Space) -> None:
    space.apply(
        f"""
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {{name: {space.name}}}
spec: {{cidrs: [10.99.0.0/24]}}
""",
        pod(
            "web",
            "containers: [{name: main, image: 'busybox:1', command: [sh, -c, "
            "'mkdir /www; echo here >/www/index.html; httpd -f -p 80 -h /www']}]",
            labels="{app: web}",
        ),
    )
    space.kubectl("wait", "--for=condition=Ready", f"servicecidr/{space.name}", "--timeout=30s")
    space.apply("""
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.99.0.7, selector: {app: web}, ports: [{port: 80}]}
""")
    space.ready("web")
    ask = "until wget -q -O - http://10.99.0.7/; do sleep 0.2; done"
    client = (
        f'{{restartPolicy: Never, containers: [{{name: c, image: "busybox:1", command: [sh, -c, "{ask}"]}}]}}'
    )
    space.apply(f"{{apiVersion: v1, kind: Pod, metadata: {{name: client}}, spec: {client}}}")
    assert space.ended("client") == "here\n"
    assert space.get("ipaddress", "10.99.0.7")["spec"]["parentRef"]["name"] == "web"
    space.kubectl("delete", "service", "web")
    space.kubectl("delete", "servicecidr", space.name, "--timeout=30s")
