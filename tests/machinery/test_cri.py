"""CRI's messages come from the compiled descriptors, by name."""

from __future__ import annotations

import pytest

from sampan.machinery.cri import messages, methods


def test_messages_encode_and_decode() -> None:
    config = messages.PodSandboxConfig(
        hostname="web",
        labels={"app": "web"},
        metadata=messages.PodSandboxMetadata(name="web", namespace="default"),
    )
    request = messages.RunPodSandboxRequest(config=config)
    again = messages.RunPodSandboxRequest.FromString(request.SerializeToString())
    assert again.config.metadata.name == "web"
    assert dict(again.config.labels) == {"app": "web"}


def test_enumerations_and_their_values() -> None:
    assert messages.CONTAINER_EXITED == 2
    assert messages.ContainerState.Name(2) == "CONTAINER_EXITED"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchMessage"):
        _ = messages.NoSuchMessage


def test_the_method_table_names_path_messages_and_streaming() -> None:
    run = methods()["RunPodSandbox"]
    assert run.path == "/runtime.v1.RuntimeService/RunPodSandbox"
    assert run.request is messages.RunPodSandboxRequest
    assert run.response is messages.RunPodSandboxResponse
    assert not run.stream
    assert methods()["GetContainerEvents"].stream
    assert methods()["PullImage"].service == "ImageService"
