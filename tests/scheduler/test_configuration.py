"""KubeSchedulerConfiguration: strict decoding, defaults, faults in upstream's words, and the profiles made of it."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.objects import Object
from sampan.scheduler import configuration
from sampan.scheduler.configuration import ConfigurationError, build, defaults
from sampan.scheduler.framework import Plugin, Status, unschedulable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def fault(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        configuration.load(HEAD + text)
    return str(caught.value)


def test_an_empty_file_means_upstreams_defaults() -> None:
    found = configuration.load(HEAD)
    assert [p.name for p in found.profiles] == ["default-scheduler"]
    assert (found.first_backoff, found.last_backoff, found.parallelism) == (1.0, 10.0, 16)
    election = found.leader_election
    assert (election.enabled, election.namespace, election.name) == (True, "kube-system", "kube-scheduler")
    assert (election.duration, election.deadline, election.period) == (15.0, 10.0, 2.0)
    arguments = found.profiles[0].arguments
    assert arguments["NodeResourcesFit"]["scoringStrategy"]["type"] == "LeastAllocated"
    assert arguments["DefaultPreemption"] == {
        "minCandidateNodesPercentage": 10,
        "minCandidateNodesAbsolute": 100,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "foo: 1\nprofiles: [{bar: 2}]",
            'strict decoding error: unknown field "foo", unknown field "profiles[0].bar"',
        ),
        (
            "parallelism: many",
            "json: cannot unmarshal string into Go struct field "
            "KubeSchedulerConfiguration.parallelism of type int32",
        ),
        (
            "parallelism: 1\nparallelism: 2",
            'strict decoding error: yaml: unmarshal errors:\n  line 4: key "parallelism" already set in map',
        ),
        ("leaderElection: {leaseDuration: soon}", 'time: invalid duration "soon"'),
        ("parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        ("percentageOfNodesToScore: 101", "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
        (
            "podInitialBackoffSeconds: 20",
            "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            "leaderElection: {leaseDuration: 5s}",
            'leaderElection.leaseDuration: Invalid value: "10s": must be greater than `RenewDeadline`',
        ),
        (
            "profiles: [{schedulerName: a}, {}]",
            "profiles[1].schedulerName: Required value",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: a}]",
            "profiles[1].schedulerName: Duplicate value: profiles[0].schedulerName",
        ),
        (
            "extenders: [{urlPrefix: a, prioritizeVerb: p}]",
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
        ),
        (
            "extenders: [{urlPrefix: a, bindVerb: b}, {urlPrefix: c, bindVerb: d}]",
            'extenders: Invalid value: "found 2 extenders implementing bind": only one extender can implement bind',
        ),
        (
            "extenders: [{urlPrefix: a, managedResources: [{name: cpu}]}]",
            'extenders[0].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name',
        ),
    ],
)  # fmt: skip
def test_faults_are_worded_as_upstreams(text: str, message: str) -> None:
    assert fault(text) == message


def test_another_version_is_not_known() -> None:
    with pytest.raises(ConfigurationError, match="is registered for version"):
        configuration.load(
            "apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration"
        )


@pytest.mark.parametrize(
    ("plugin", "arguments", "message"),
    [
        (
            "NodeResourcesFit",
            "{scoringStrategy: {resources: [{Name: cpu, Weight: 1}]}}",
            "strict decoding error: decoding .profiles[0].pluginConfig[0]: strict decoding error: decoding args for "
            'plugin NodeResourcesFit: strict decoding error: unknown field "scoringStrategy.resources[0].Name", '
            'unknown field "scoringStrategy.resources[0].Weight"',
        ),
        (
            "DefaultPreemption",
            "{apiVersion: kubescheduler.config.k8s.io/v1, kind: InterPodAffinityArgs}",
            "decoding .profiles[0].pluginConfig[0]: args for plugin DefaultPreemption were not of type "
            "DefaultPreemptionArgs.kubescheduler.config.k8s.io, "
            "got InterPodAffinityArgs.kubescheduler.config.k8s.io",
        ),
        (
            "InterPodAffinity",
            "{hardPodAffinityWeight: 101}",
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: RequestedToCapacityRatio}}",
            "profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio: Required value: "
            "must be specified when type is RequestedToCapacityRatio",
        ),
        (
            "PodTopologySpread",
            "{defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}",
            'profiles[0].pluginConfig[0].args.defaultingType: Invalid value: "System": '
            "when .defaultConstraints are not empty",
        ),
        (
            "VolumeBinding",
            "{bindTimeoutSeconds: -1}",
            "profiles[0].pluginConfig[0].args.bindTimeoutSeconds: Invalid value: -1: "
            "invalid BindTimeoutSeconds, should not be a negative value",
        ),
    ],
)  # fmt: skip
def test_plugins_arguments_have_types_and_ranges(plugin: str, arguments: str, message: str) -> None:
    assert fault(f"profiles: [{{pluginConfig: [{{name: {plugin}, args: {arguments}}}]}}]") == message


def names(point: Object) -> list[str]:
    return [p["name"] for p in point["enabled"]]


def test_a_default_plugin_that_is_configured_anew_keeps_its_place() -> None:
    weights = {"enabled": [{"name": "NodeAffinity", "weight": 9}, {"name": "Own"}]}
    found = defaults.merged({"multiPoint": {**weights, "disabled": [{"name": "ImageLocality"}]}})
    plugins = found["multiPoint"]["enabled"]
    assert {"name": "NodeAffinity", "weight": 9} in plugins
    assert names(found["multiPoint"]).index("NodeAffinity") == names(defaults.merged({})["multiPoint"]).index(
        "NodeAffinity"
    )
    assert names(found["multiPoint"])[-1] == "Own"
    assert "ImageLocality" not in names(found["multiPoint"])


class Own(Plugin):
    """An own plugin, as a user would write it."""

    name = "Own"

    def filter(self, state: Any, pod: PodInfo, node: NodeInfo) -> Status | None:
        return None if node.labels.get("arch") == self.arguments["arch"] else unschedulable("wrong arch")

    def score(self, state: Any, pod: PodInfo, node: NodeInfo) -> int:
        return len(node.name)


def profile(plugins: str, config: str = "[]") -> Profile:
    text = f"{HEAD}profiles: [{{plugins: {plugins}, pluginConfig: {config}}}]"
    return build.profiles(configuration.load(text))["default-scheduler"]


OWN = "tests.scheduler.test_configuration:Own"


def test_an_own_plugin_is_named_by_module_and_class() -> None:
    found = profile(
        f"{{multiPoint: {{enabled: [{{name: '{OWN}', weight: 3}}]}}, score: {{disabled: [{{name: NodeAffinity}}]}}}}",
        f"[{{name: '{OWN}', args: {{arch: arm64}}}}]",
    )
    assert found.filter[-1].name == "Own"
    assert found.weights["Own"] == 3
    assert "NodeAffinity" not in [p.name for p in found.score]
    assert "NodeAffinity" in [p.name for p in found.filter]


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ("{multiPoint: {enabled: [{name: Nobody}]}}", 'PreEnqueuePlugin "Nobody" does not exist'),
        ("{bind: {disabled: [{name: '*'}]}}", "at least one bind plugin is needed"),
        (
            "{reserve: {enabled: [{name: NodeName}]}}",
            'plugin "NodeName" does not extend ReservePlugin plugin',
        ),
        (
            "{filter: {enabled: [{name: NodeName}, {name: NodeName}]}}",
            'plugin "NodeName" already registered as "FilterPlugin"',
        ),
        ("{queueSort: {disabled: [{name: PrioritySort}]}}", "only one queue sort plugin required"),
    ],
)
def test_profiles_that_cannot_be_made_are_refused(plugins: str, message: str) -> None:
    with pytest.raises(
        ConfigurationError, match="creating profile for scheduler name default-scheduler"
    ) as caught:
        profile(plugins)
    assert message in str(caught.value)
