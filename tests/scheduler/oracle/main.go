// Command oracle reads cases, one JSON a line, and writes what kube-scheduler's own framework makes of them.
//
// It is how the examples in tests/scheduler/data were made: see README.md beside. Only the framework and the
// plugins run; informers are filled by hand and never started.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/dynamic-resource-allocation/resourceslice/tracker"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	configscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	schedulercache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/pkg/scheduler/util/assumecache"
)

// Case is one cluster and one pod. Config, if set, is a KubeSchedulerConfiguration.
type Case struct {
	ID                     string                          `json:"id"`
	Config                 json.RawMessage                 `json:"config,omitempty"`
	Nodes                  []*v1.Node                      `json:"nodes"`
	Pods                   []*v1.Pod                       `json:"pods"`
	Nominated              []*v1.Pod                       `json:"nominated,omitempty"`
	Namespaces             []*v1.Namespace                 `json:"namespaces"`
	Services               []*v1.Service                   `json:"services,omitempty"`
	ReplicationControllers []*v1.ReplicationController     `json:"replicationControllers,omitempty"`
	ReplicaSets            []*appsv1.ReplicaSet            `json:"replicaSets,omitempty"`
	StatefulSets           []*appsv1.StatefulSet           `json:"statefulSets,omitempty"`
	PersistentVolumes      []*v1.PersistentVolume          `json:"persistentVolumes,omitempty"`
	PersistentVolumeClaims []*v1.PersistentVolumeClaim     `json:"persistentVolumeClaims,omitempty"`
	StorageClasses         []*storagev1.StorageClass       `json:"storageClasses,omitempty"`
	CSINodes               []*storagev1.CSINode            `json:"csiNodes,omitempty"`
	CSIDrivers             []*storagev1.CSIDriver          `json:"csiDrivers,omitempty"`
	CSIStorageCapacities   []*storagev1.CSIStorageCapacity `json:"csiStorageCapacities,omitempty"`
	VolumeAttachments      []*storagev1.VolumeAttachment   `json:"volumeAttachments,omitempty"`
	DeviceClasses          []*resourcev1.DeviceClass       `json:"deviceClasses,omitempty"`
	ResourceClaims         []*resourcev1.ResourceClaim     `json:"resourceClaims,omitempty"`
	DeviceTaintRules       []*resourcev1.DeviceTaintRule   `json:"deviceTaintRules,omitempty"`
	ResourceSlices         []*resourcev1.ResourceSlice     `json:"resourceSlices,omitempty"`
	PodDisruptionBudgets   []*policyv1.PodDisruptionBudget `json:"podDisruptionBudgets,omitempty"`
	Preempt                bool                            `json:"preempt,omitempty"`
	Pod                    *v1.Pod                         `json:"pod"`
}

// Verdict is what came out for one node.
type Verdict struct {
	OK      bool             `json:"ok"`
	Plugin  string           `json:"plugin,omitempty"`
	Code    string           `json:"code,omitempty"`
	Reasons []string         `json:"reasons,omitempty"`
	Raw     map[string]int64 `json:"raw,omitempty"`
	Scores  map[string]int64 `json:"scores,omitempty"`
	Total   int64            `json:"total"`
}

// Victims are the pods that would have to go from a node, the most important first.
type Victims struct {
	Pods       []string `json:"pods"`
	Violations int64    `json:"violations"`
}

// Preemption is what making room would come to, where no node fits.
type Preemption struct {
	Ineligible string              `json:"ineligible,omitempty"`
	Node       string              `json:"node,omitempty"`
	Candidates map[string]Victims  `json:"candidates,omitempty"`
	Refused    map[string][]string `json:"refused,omitempty"`
}

// Result has the form of the results in the shared oracle.
type Result struct {
	ID             string             `json:"id"`
	SkippedFilters []string           `json:"skippedFilters"`
	Nodes          map[string]Verdict `json:"nodes"`
	Best           []string           `json:"best,omitempty"`
	Preemption     *Preemption        `json:"preemption,omitempty"`
	Message        string             `json:"message,omitempty"`
	Error          string             `json:"error,omitempty"`
}

// nominator holds, by node, the pods that room is kept for.
type nominator map[string][]fwk.PodInfo

func (n nominator) AddNominatedPod(klog.Logger, fwk.PodInfo, *fwk.NominatingInfo) {}
func (n nominator) DeleteNominatedPodIfExists(*v1.Pod)                            {}
func (n nominator) UpdateNominatedPod(klog.Logger, *v1.Pod, fwk.PodInfo)          {}
func (n nominator) NominatedPodsForNode(node string) []fwk.PodInfo                { return n[node] }

func fill[T any](informer cache.SharedIndexInformer, objects []*T) {
	for _, object := range objects {
		if err := informer.GetIndexer().Add(object); err != nil {
			panic(err)
		}
	}
}

func informersOf(c *Case, client *fake.Clientset) informers.SharedInformerFactory {
	factory := informers.NewSharedInformerFactory(client, 0)
	core, apps, storage := factory.Core().V1(), factory.Apps().V1(), factory.Storage().V1()
	fill(core.Namespaces().Informer(), c.Namespaces)
	fill(core.Services().Informer(), c.Services)
	fill(core.ReplicationControllers().Informer(), c.ReplicationControllers)
	fill(apps.ReplicaSets().Informer(), c.ReplicaSets)
	fill(apps.StatefulSets().Informer(), c.StatefulSets)
	fill(storage.StorageClasses().Informer(), c.StorageClasses)
	fill(storage.CSINodes().Informer(), c.CSINodes)
	fill(storage.CSIDrivers().Informer(), c.CSIDrivers)
	fill(storage.CSIStorageCapacities().Informer(), c.CSIStorageCapacities)
	fill(core.Nodes().Informer(), c.Nodes)
	fill(core.Pods().Informer(), c.Pods)
	return factory
}

// Indexers of these are added by the plugins, which a filled store would refuse.
func fillLate(c *Case, factory informers.SharedInformerFactory) {
	fill(factory.Core().V1().PersistentVolumes().Informer(), c.PersistentVolumes)
	fill(factory.Core().V1().PersistentVolumeClaims().Informer(), c.PersistentVolumeClaims)
	fill(factory.Storage().V1().VolumeAttachments().Informer(), c.VolumeAttachments)
}

// devicesOf is what dynamic allocation sees. It lives on events, so its own informers really run.
func devicesOf(ctx context.Context, c *Case) (fwk.SharedDRAManager, error) {
	objects := []apiruntime.Object{}
	for _, claim := range c.ResourceClaims {
		objects = append(objects, claim)
	}
	for _, rule := range c.DeviceTaintRules {
		objects = append(objects, rule)
	}
	for _, slice := range c.ResourceSlices {
		objects = append(objects, slice)
	}
	for _, class := range c.DeviceClasses {
		objects = append(objects, class)
	}
	client := fake.NewClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	claims := assumecache.NewAssumeCache(klog.FromContext(ctx), factory.Resource().V1().ResourceClaims().Informer(), "ResourceClaim", "", nil)
	slices, err := tracker.StartTracker(ctx, tracker.Options{
		EnableDeviceTaintRules: true, TaintInformer: factory.Resource().V1().DeviceTaintRules(),
		EnableConsumableCapacity: true, SliceInformer: factory.Resource().V1().ResourceSlices(), KubeClient: client,
	})
	if err != nil {
		return nil, err
	}
	manager := dynamicresources.NewDRAManager(ctx, claims, slices, factory)
	if handler, ok := manager.DeviceClassResolver().(cache.ResourceEventHandler); ok {
		if _, err := factory.Resource().V1().DeviceClasses().Informer().AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	if len(objects) > 0 {
		factory.Start(ctx.Done())
		factory.WaitForCacheSync(ctx.Done())
		for len(c.ResourceClaims) > len(claims.List(nil)) || !slices.HasSynced() {
			time.Sleep(time.Millisecond)
		}
		// The manager learns of what is taken by events, too.
		taken := map[string]bool{}
		for _, claim := range c.ResourceClaims {
			if claim.Status.Allocation != nil {
				for _, result := range claim.Status.Allocation.Devices.Results {
					taken[result.Driver+"/"+result.Pool+"/"+result.Device] = true
				}
			}
		}
		for {
			state, err := manager.ResourceClaims().GatherAllocatedState()
			if err == nil && len(state.AllocatedDevices)+len(state.AllocatedSharedDeviceIDs) >= len(taken) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		for _, class := range c.DeviceClasses {
			name := v1.ResourceName(resourcev1.ResourceDeviceClassPrefix + class.Name)
			for manager.DeviceClassResolver().GetDeviceClass(name) == nil {
				time.Sleep(time.Millisecond)
			}
		}
	}
	return manager, nil
}

func profileOf(c *Case) (*config.KubeSchedulerProfile, error) {
	if len(c.Config) == 0 {
		cfg, err := latest.Default()
		if err != nil {
			return nil, err
		}
		return &cfg.Profiles[0], nil
	}
	object, _, err := configscheme.Codecs.UniversalDecoder().Decode(c.Config, nil, nil)
	if err != nil {
		return nil, err
	}
	return &object.(*config.KubeSchedulerConfiguration).Profiles[0], nil
}

func frameworkOf(ctx context.Context, c *Case) (framework.Framework, *schedulercache.Snapshot, error) {
	profile, err := profileOf(c)
	if err != nil {
		return nil, nil, err
	}
	client := fake.NewClientset()
	factory := informersOf(c, client)
	nominated := nominator{}
	for _, pod := range c.Nominated {
		info, err := framework.NewPodInfo(pod)
		if err != nil {
			return nil, nil, err
		}
		nominated[pod.Status.NominatedNodeName] = append(nominated[pod.Status.NominatedNodeName], info)
	}
	snapshot := schedulercache.NewSnapshot(c.Pods, c.Nodes)
	devices, err := devicesOf(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	f, err := runtime.NewFramework(ctx, plugins.NewInTreeRegistry(), profile,
		runtime.WithClientSet(client),
		runtime.WithInformerFactory(factory),
		runtime.WithSharedDRAManager(devices),
		runtime.WithSharedCSIManager(nodevolumelimits.NewCSIManager(factory.Storage().V1().CSINodes().Lister())),
		runtime.WithSnapshotSharedLister(snapshot),
		runtime.WithMutableSnapshotLister(snapshot),
		runtime.WithPodNominator(nominated),
		runtime.WithParallelism(1),
	)
	if err != nil {
		return nil, nil, err
	}
	fillLate(c, factory)
	return f, snapshot, nil
}

func verdictOf(s *fwk.Status) Verdict {
	return Verdict{Plugin: s.Plugin(), Code: s.Code().String(), Reasons: s.Reasons()}
}

func run(ctx context.Context, c *Case) (*Result, error) {
	f, snapshot, err := frameworkOf(ctx, c)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	state := framework.NewCycleState()
	result := &Result{ID: c.ID, Nodes: map[string]Verdict{}}
	pre, rejected, narrowed := f.RunPreFilterPlugins(ctx, state, c.Pod)
	result.SkippedFilters = append([]string{}, state.GetSkipFilterPlugins().UnsortedList()...)
	sort.Strings(result.SkippedFilters)
	nodes, err := snapshot.NodeInfos().List()
	if err != nil {
		return nil, err
	}
	sort.Slice(nodes, func(i, j int) bool { return nodes[i].Node().Name < nodes[j].Node().Name })
	feasible := []fwk.NodeInfo{}
	statuses := framework.NewDefaultNodeToStatus()
	for _, node := range nodes {
		status := rejected
		if status.IsSuccess() {
			status = f.RunFilterPluginsWithNominatedPods(ctx, state, c.Pod, node)
		}
		if status.IsSuccess() {
			feasible = append(feasible, node)
		} else {
			result.Nodes[node.Node().Name] = verdictOf(status)
			statuses.Set(node.Node().Name, status)
		}
	}
	result.Message = messageOf(c.Pod, nodes, statuses, pre, rejected, sets.List(narrowed))
	if len(feasible) == 0 {
		if c.Preempt {
			result.Preemption, err = preempt(ctx, f, snapshot, state, c, statuses)
		}
		return result, err
	}
	if status := f.RunPreScorePlugins(ctx, state, c.Pod, feasible); !status.IsSuccess() {
		result.Error = status.Message()
		return result, nil
	}
	scores, status := f.RunScorePlugins(ctx, state, c.Pod, feasible)
	if !status.IsSuccess() {
		result.Error = status.Message()
		return result, nil
	}
	best := int64(-1)
	for _, s := range scores {
		v := Verdict{OK: true, Raw: map[string]int64{}, Scores: map[string]int64{}, Total: s.TotalScore}
		for _, raw := range s.RawScores {
			v.Raw[raw.Name] = raw.Score
		}
		for _, weighted := range s.Scores {
			v.Scores[weighted.Name] = weighted.Score
		}
		result.Nodes[s.Name] = v
		best = max(best, s.TotalScore)
	}
	for _, s := range scores {
		if s.TotalScore == best {
			result.Best = append(result.Best, s.Name)
		}
	}
	sort.Strings(result.Best)
	return result, nil
}

// messageOf is what the pod's condition and event would say, empty where some node fits.
func messageOf(pod *v1.Pod, nodes []fwk.NodeInfo, statuses *framework.NodeToStatus, pre *fwk.PreFilterResult,
	rejected *fwk.Status, narrowed []string) string {
	diagnosis := framework.Diagnosis{NodeToStatus: framework.NewDefaultNodeToStatus()}
	if rejected.IsError() {
		return ""
	}
	if !rejected.IsSuccess() {
		diagnosis.NodeToStatus.SetAbsentNodesStatus(rejected)
		diagnosis.PreFilterMsg = rejected.Message()
	}
	for _, node := range nodes {
		name := node.Node().Name
		if !rejected.IsSuccess() || (!pre.AllNodes() && !pre.NodeNames.Has(name)) {
			continue
		}
		status := statuses.Get(name)
		if status == nil || status.IsSuccess() || status.IsError() || status.Plugin() == "" {
			return ""
		}
		diagnosis.NodeToStatus.Set(name, status)
	}
	if rejected.IsSuccess() && !pre.AllNodes() {
		diagnosis.NodeToStatus.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable,
			fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", narrowed)))
	}
	return (&framework.FitError{Pod: pod, NumAllNodes: len(nodes), Diagnosis: diagnosis}).Error()
}

func preempt(ctx context.Context, f framework.Framework, snapshot *schedulercache.Snapshot, state fwk.CycleState,
	c *Case, statuses *framework.NodeToStatus) (*Preemption, error) {
	args := &config.DefaultPreemptionArgs{MinCandidateNodesPercentage: 10, MinCandidateNodesAbsolute: 100}
	plugin, err := defaultpreemption.New(ctx, args, f, feature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate))
	if err != nil {
		return nil, err
	}
	found := &Preemption{Candidates: map[string]Victims{}, Refused: map[string][]string{}}
	nominated := statuses.Get(c.Pod.Status.NominatedNodeName)
	if ok, why := plugin.PodEligibleToPreemptOthers(ctx, c.Pod, nominated); !ok {
		found.Ineligible = why
		return found, nil
	}
	nodes, err := statuses.NodesForStatusCode(snapshot.NodeInfos(), fwk.Unschedulable)
	if err != nil || len(nodes) == 0 {
		return found, err
	}
	candidates, refused, err := plugin.Evaluator.DryRunPreemption(ctx, state, c.Pod, nodes, c.PodDisruptionBudgets, 0, 100)
	if err != nil {
		return nil, err
	}
	for _, candidate := range candidates {
		victims := Victims{Violations: candidate.Victims().NumPDBViolations}
		for _, pod := range candidate.Victims().Pods {
			victims.Pods = append(victims.Pods, pod.Name)
		}
		found.Candidates[candidate.Name()] = victims
	}
	refused.ForEachExplicitNode(func(node string, status *fwk.Status) { found.Refused[node] = status.Reasons() })
	if best := plugin.Evaluator.SelectCandidate(ctx, candidates); best != nil {
		found.Node = best.Name()
	}
	return found, nil
}

func main() {
	klog.InitFlags(nil)
	flag.Parse()
	klog.SetOutput(os.Stderr)
	metrics.Register()
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for decoder.More() {
		c := &Case{}
		if err := decoder.Decode(c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		ctx, cancel := context.WithCancel(context.Background())
		result, err := run(ctx, c)
		cancel()
		if err != nil {
			result = &Result{ID: c.ID, Error: err.Error()}
		}
		if err := encoder.Encode(result); err != nil {
			panic(err)
		}
	}
}
