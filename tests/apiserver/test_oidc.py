"""Users whom an OpenID Connect issuer vouches for: a real issuer over TLS, as a file describes it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from tests.apiserver.conftest import Cluster

from sampan.apiserver.oidc import configuration
from sampan.apiserver.oidc.issuers import Issuers
from sampan.apiserver.tokens import base64url
from sampan.client.api import ApiError
from sampan.http import server as http
from sampan.http.messages import Request, Response
from sampan.http.tls import server_context
from sampan.machinery.objects import Object


@dataclass
class Issuer:
    url: str
    key: rsa.RSAPrivateKey

    def token(self, **claims: Any) -> str:
        head = base64url(orjson.dumps({"alg": "RS256", "kid": "one"}))
        said = {"iss": self.url, "aud": "sampan", "exp": time.time() + 60, "sub": "ada", **claims}
        signed = f"{head}.{base64url(orjson.dumps(said))}"
        return f"{signed}.{base64url(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
async def issuer(cluster: Cluster, key: rsa.RSAPrivateKey) -> AsyncIterator[Issuer]:
    sock = http.listen("127.0.0.1", 0)
    url = f"https://127.0.0.1:{sock.getsockname()[1]}"
    numbers = key.public_key().public_numbers()
    modulus, exponent = (
        base64url(n.to_bytes((n.bit_length() + 7) // 8, "big")) for n in (numbers.n, numbers.e)
    )

    async def handle(request: Request) -> Response:
        if request.path == "/.well-known/openid-configuration":
            found: Object = {"issuer": url, "jwks_uri": f"{url}/keys"}
        else:
            found = {"keys": [{"kty": "RSA", "kid": "one", "alg": "RS256", "n": modulus, "e": exponent}]}
        return Response(200, orjson.dumps(found), {"content-type": "application/json"})

    pair = cluster.pki.server("issuer", ["127.0.0.1"])
    server = await http.serve(handle, sockets=[sock], tls=server_context(pair))
    yield Issuer(url, key)
    await server.close(grace=0.1)


def trust(cluster: Cluster, issuer: Issuer, **jwt: Any) -> None:
    """Have the server read a configuration that names the issuer."""
    authority = cluster.pki.ca.read_text()
    found = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [
            {
                "issuer": {"url": issuer.url, "audiences": ["sampan"], "certificateAuthority": authority},
                "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}},
                **jwt,
            }
        ],
    }
    path = cluster.directory / "authentication.yaml"
    path.write_bytes(orjson.dumps(found))
    cluster.api.issuers = Issuers(configuration.load(path))


async def who(cluster: Cluster, token: str) -> Object:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    found = await cluster.http(token=token).create("selfsubjectreviews.authentication.k8s.io", review)
    user: Object = found["status"]["userInfo"]
    return user


async def test_claims_become_a_user_by_name(cluster: Cluster, issuer: Issuer) -> None:
    mappings = {
        "username": {"claim": "email", "prefix": ""},
        "groups": {"claim": "teams", "prefix": "oidc:"},
        "uid": {"claim": "sub"},
    }
    trust(cluster, issuer, claimMappings=mappings)
    user = await who(cluster, issuer.token(email="ada@example.com", teams=["crew"]))
    assert (user["username"], user["uid"], user["groups"]) == (
        "ada@example.com", "ada", ["oidc:crew", "system:authenticated"],
    )  # fmt: skip


async def test_claims_become_a_user_by_expressions(cluster: Cluster, issuer: Issuer) -> None:
    trust(
        cluster,
        issuer,
        claimMappings={
            "username": {"expression": "'sso:' + claims.sub"},
            "groups": {"expression": "claims.roles.split(',').map(r, 'role:' + r)"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
        },
        claimValidationRules=[{"expression": "claims.tenant != 'none'", "message": "no tenant"}],
        userValidationRules=[{"expression": "!user.username.startsWith('system:')"}],
    )
    user = await who(cluster, issuer.token(roles="a,b", tenant="sea"))
    assert user["username"] == "sso:ada"
    assert user["groups"][:2] == ["role:a", "role:b"]
    assert user["extra"] == {"example.com/tenant": ["sea"]}
    with pytest.raises(ApiError):
        await who(cluster, issuer.token(roles="a", tenant="none"))


@pytest.mark.parametrize("wrong", [{"aud": "other"}, {"exp": 1}, {"nbf": time.time() + 3600}])
async def test_a_token_that_is_not_good_is_refused(cluster: Cluster, issuer: Issuer, wrong: Object) -> None:
    trust(cluster, issuer)
    with pytest.raises(ApiError) as found:
        await who(cluster, issuer.token(**wrong))
    assert found.value.code == 401


async def test_a_token_that_somebody_else_signed_is_refused(cluster: Cluster, issuer: Issuer) -> None:
    trust(cluster, issuer)
    other = replace(issuer, key=rsa.generate_private_key(65537, 2048))
    with pytest.raises(ApiError) as found:
        await who(cluster, other.token())
    assert found.value.code == 401
    assert (await who(cluster, issuer.token()))["username"] == "oidc:ada"


@pytest.mark.parametrize(
    ("jwt", "message"),
    [
        ({"issuer": {"url": "http://a", "audiences": ["x"]}}, "issuer.url: URL scheme must be https"),
        ({"issuer": {"url": "https://a"}}, "issuer.audiences: Required value"),
        ({"claimMappings": {}}, "claimMappings.username: Required value: claim or expression is required"),
        (
            {"claimMappings": {"username": {"claim": "sub"}}},
            "username.prefix: Required value: prefix is required",
        ),
        ({"claimMappings": {"username": {"expression": "claims."}}}, "username.expression: Invalid value"),
    ],
)
def test_a_file_that_cannot_be_used_names_the_field(tmp_path: Path, jwt: Object, message: str) -> None:
    good = {
        "issuer": {"url": "https://a", "audiences": ["x"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
    }
    found = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [{**good, **jwt}],
    }
    path = tmp_path / "authentication.yaml"
    path.write_bytes(orjson.dumps(found))
    with pytest.raises(configuration.Unusable, match=message.replace(".", r"\.")):
        configuration.load(path)
