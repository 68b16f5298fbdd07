"""CRI's image calls and statistics, on the real engine."""

from __future__ import annotations

import asyncio

import pytest
from tests.engine.images.image_making import archive, file, put_image
from tests.engine.images.registry_server import Registry
from tests.engine.running.running_pods import Pods

from sampan.engine.images.credentials import Credentials
from sampan.engine.images.push import push
from sampan.engine.images.references import parse
from sampan.machinery.cri import CriError, messages

pytestmark = pytest.mark.root


def spec(image: str) -> object:
    return messages.ImageSpec(image=image)


async def test_images_are_listed_found_and_removed_unless_in_use(pods: Pods) -> None:
    listed = (await pods.call("ListImages")).images
    assert [image.repo_tags for image in listed] == [["docker.io/library/busybox:latest"]]
    found = (await pods.call("ImageStatus", image=spec("busybox"), verbose=True)).image
    assert found.id == listed[0].id
    assert found.size > 100_000
    assert not (await pods.call("ImageStatus", image=spec("nothing"))).HasField("image")
    used = (await pods.call("ImageFsInfo")).image_filesystems[0]
    assert used.used_bytes.value > 0
    container = await pods.create(await pods.pod(), "true")
    with pytest.raises(CriError, match="being used"):
        await pods.call("RemoveImage", image=spec("busybox"))
    await pods.call("RemoveContainer", container_id=container)
    await pods.call("RemoveImage", image=spec("busybox"))
    await pods.call("RemoveImage", image=spec("busybox"))
    assert (await pods.call("ListImages")).images == []


async def test_an_image_is_pulled_with_credentials(pods: Pods) -> None:
    registry = Registry(auth="basic").serve()
    try:
        name = f"{registry.host}/team/app:1"
        store = pods.engine.context.images
        put_image(store, archive(file("hello", b"hi")), names=(name,))
        await push(store, parse(name), credentials=Credentials("ann", "secret"))
        await pods.call("RemoveImage", image=spec(name))
        with pytest.raises(CriError) as denied:
            await pods.call("PullImage", image=spec(name))
        assert denied.value.code == "PERMISSION_DENIED"
        auth = messages.AuthConfig(username="ann", password="secret")
        pulled = await pods.call("PullImage", image=spec(name), auth=auth)
        assert (await pods.call("ImageStatus", image=spec(name))).image.id == pulled.image_ref
        with pytest.raises(CriError) as missing:
            await pods.call("PullImage", image=spec(f"{registry.host}/team/none:1"), auth=auth)
        assert missing.value.code == "NOT_FOUND"
    finally:
        registry.stop()


async def test_statistics_of_containers_and_pods(pods: Pods) -> None:
    pod = await pods.pod()
    script = "dd if=/dev/zero of=/file bs=1M count=2; while :; do :; done"
    container = await pods.run("sh", "-c", script, pod=pod, labels={"a": "b"})
    first = (await pods.call("ContainerStats", container_id=container)).stats
    await asyncio.sleep(1.1)
    second = (await pods.call("ContainerStats", container_id=container)).stats
    assert second.cpu.usage_core_nano_seconds.value > first.cpu.usage_core_nano_seconds.value
    assert second.cpu.usage_nano_cores.value > 10_000_000
    assert second.memory.working_set_bytes.value > 0
    listed = await pods.call(
        "ListContainerStats", filter=messages.ContainerStatsFilter(label_selector={"a": "b"})
    )
    assert [s.attributes.id for s in listed.stats] == [container]
    whole = (await pods.call("PodSandboxStats", pod_sandbox_id=pod)).stats
    assert whole.linux.process.process_count.value >= 1
    assert whole.linux.memory.usage_bytes.value >= second.memory.rss_bytes.value
    assert [s.attributes.id for s in whole.linux.containers] == [container]
    assert len((await pods.call("ListPodSandboxStats")).stats) == 1
    names = {d.name for d in (await pods.call("ListMetricDescriptors")).descriptors}
    metrics = (await pods.call("ListPodSandboxMetrics")).pod_metrics[0]
    assert {m.name for m in metrics.container_metrics[0].metrics} == names
