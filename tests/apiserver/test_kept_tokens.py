"""Tokens that Secrets keep: those of machines that join, and long-lived ones of service accounts."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sampan.apiserver.bootstrap_tokens import good
from sampan.client.api import ApiError
from sampan.controllers import account_tokens, bootstrap_tokens
from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.reconcile.controller import Absent, Delete, Patch

from .conftest import Cluster
from .test_access import refused

NOW = times.seconds("2026-01-01T00:00:00Z")
KEY = "0123456789abcdef"


def secret(kind: str, name: str, namespace: str = "kube-system", **data: str) -> Object:
    meta = {"name": name, "namespace": namespace, "uid": "s"}
    encoded = {k.replace("_", "-"): base64.b64encode(v.encode()).decode() for k, v in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind, "data": encoded}


def bootstrap(**data: str) -> Object:
    usages = {"usage_bootstrap_authentication": "true", "usage_bootstrap_signing": "true"}
    whole = {"token_id": "abcdef", "token_secret": KEY, **usages, **data}
    return secret("bootstrap.kubernetes.io/token", "bootstrap-token-abcdef", **whole)


async def test_a_bootstrap_token_names_a_machine_that_joins(cluster: Cluster) -> None:
    await cluster.admin.create("secrets", bootstrap(auth_extra_groups="system:bootstrappers:workers"))
    client = cluster.http(token=f"abcdef.{KEY}")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    found = await client.create("selfsubjectreviews.authentication.k8s.io", review)
    user = found["status"]["userInfo"]
    assert user["username"] == "system:bootstrap:abcdef"
    assert user["groups"][:2] == ["system:bootstrappers", "system:bootstrappers:workers"]
    wrong = cluster.http(token="abcdef.fedcba9876543210")
    assert (await refused(wrong.list("pods", "default"))).code == 401


@pytest.mark.parametrize(
    "data",
    [
        {"expiration": "2025-12-31T00:00:00Z"},
        {"expiration": "soon"},
        {"usage_bootstrap_authentication": "false"},
        {"token_secret": "other"},
        {"auth_extra_groups": "system:masters"},
    ],
)
def test_what_makes_a_bootstrap_token_no_good(data: dict[str, str]) -> None:
    assert good(bootstrap(), "abcdef", KEY, NOW)
    assert good(bootstrap(**data), "abcdef", KEY, NOW) is None


def test_tokens_that_are_over_are_deleted() -> None:
    plan = bootstrap_tokens.decide_token(bootstrap(expiration="2026-01-01T00:01:00Z"), NOW)
    assert (plan.actions, plan.again) == ((), 60.0)
    plan = bootstrap_tokens.decide_token(bootstrap(expiration="2026-01-01T00:00:00Z"), NOW)
    assert [type(a) for a in plan.actions] == [Delete]


def test_cluster_info_is_signed_by_each_token() -> None:
    info = {"data": {"kubeconfig": "who to trust", "jws-kubeconfig-gone00": "x"}}
    plan = bootstrap_tokens.decide(bootstrap_tokens.Observed(info, (bootstrap(),)), NOW)
    (change,) = plan.actions
    assert isinstance(change, Patch)
    made = change.patch["data"]
    assert made["jws-kubeconfig-gone00"] is None
    head, body, signature = made["jws-kubeconfig-abcdef"].split(".")
    assert base64.urlsafe_b64decode(head + "==") == b'{"alg":"HS256","kid":"abcdef"}'
    assert (body, len(signature)) == ("", 43)


# Service accounts


def kept(**annotations: str) -> Object:
    found = secret("kubernetes.io/service-account-token", "t", "default")
    prefix = "kubernetes.io/service-account"
    found["metadata"]["annotations"] = {f"{prefix}.name": "default"} | {
        f"{prefix}.{k}": v for k, v in annotations.items()
    }
    return found


async def test_a_secret_s_token_is_good_until_the_secret_is_gone(cluster: Cluster) -> None:
    account = await cluster.account()
    made = await cluster.admin.create("secrets", kept())
    token = cluster.api.tokens.legacy(account, made)
    client = cluster.http(token=token)
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}

    async def who() -> Any:
        found = await client.create("selfsubjectreviews.authentication.k8s.io", review)
        return found["status"]["userInfo"]["username"]

    with pytest.raises(ApiError):
        await who()  # not yet in the Secret
    data = {"data": {"token": base64.b64encode(token.encode()).decode()}}
    await cluster.admin.patch("secrets", "t", "default", data)
    assert await who() == "system:serviceaccount:default:default"
    await cluster.admin.delete("secrets", "t", "default")
    with pytest.raises(ApiError):
        await who()


def test_the_controller_fills_in_what_is_missing() -> None:
    account = {"metadata": {"name": "default", "namespace": "default", "uid": "a"}}
    seen = account_tokens.Observed(kept(), account)
    (change,) = account_tokens.decide(lambda *_: "signed", "the CA", seen, NOW).actions
    assert isinstance(change, Patch)
    assert change.patch["metadata"]["annotations"] == {"kubernetes.io/service-account.uid": "a"}
    assert {k: base64.b64decode(v) for k, v in change.patch["data"].items()} == {
        "ca.crt": b"the CA",
        "namespace": b"default",
        "token": b"signed",
    }


@pytest.mark.parametrize("account", [None, {"metadata": {"name": "default", "uid": "new"}}])
def test_a_secret_goes_with_its_account(account: Object | None) -> None:
    seen = account_tokens.Observed(kept(uid="old"), account)
    actions = account_tokens.decide(None, "", seen, NOW).actions
    assert [type(a) for a in actions] == [Absent, Delete]
