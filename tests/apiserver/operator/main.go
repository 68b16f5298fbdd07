// An operator as users write them, on controller-runtime: it follows boats, gives each a ConfigMap that goes with it,
// reports in their status, and has webhooks that fill in and refuse.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/scheme"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

type BoatSpec struct {
	Harbour string `json:"harbour"`
	Sails   int64  `json:"sails,omitempty"`
	Crew    int64  `json:"crew,omitempty"`
	Title   string `json:"title,omitempty"`
}

type BoatStatus struct {
	Afloat bool `json:"afloat,omitempty"`
}

type Boat struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              BoatSpec   `json:"spec"`
	Status            BoatStatus `json:"status,omitempty"`
}

type BoatList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Boat `json:"items"`
}

func (b *Boat) DeepCopyObject() runtime.Object {
	made := *b
	made.ObjectMeta = *b.ObjectMeta.DeepCopy()
	return &made
}

func (l *BoatList) DeepCopyObject() runtime.Object {
	made := *l
	made.Items = make([]Boat, len(l.Items))
	for i := range l.Items {
		made.Items[i] = *l.Items[i].DeepCopyObject().(*Boat)
	}
	return &made
}

type reconciler struct{ client.Client }

const finalizer = "fleet.example.com/anchor"

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	boat := &Boat{}
	if err := r.Get(ctx, request.NamespacedName, boat); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !boat.DeletionTimestamp.IsZero() {
		if controllerutil.RemoveFinalizer(boat, finalizer) {
			return ctrl.Result{}, r.Update(ctx, boat)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(boat, finalizer) {
		return ctrl.Result{}, r.Update(ctx, boat)
	}
	log := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: boat.Name + "-log", Namespace: boat.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, log, func() error {
		log.Data = map[string]string{"title": boat.Spec.Title}
		return controllerutil.SetControllerReference(boat, log, r.Scheme())
	})
	if err != nil || boat.Status.Afloat {
		return ctrl.Result{}, err
	}
	boat.Status.Afloat = true
	return ctrl.Result{}, r.Status().Update(ctx, boat)
}

type hooks struct{}

func (hooks) Default(_ context.Context, boat *Boat) error {
	if boat.Spec.Title == "" {
		boat.Spec.Title = "nameless"
	}
	return nil
}

func (hooks) ValidateCreate(_ context.Context, boat *Boat) (admission.Warnings, error) {
	if boat.Spec.Title == "titanic" {
		return admission.Warnings{"mind the ice"}, fmt.Errorf("no second titanic")
	}
	return nil, nil
}

func (hooks) ValidateUpdate(_ context.Context, _, _ *Boat) (admission.Warnings, error) { return nil, nil }

func (hooks) ValidateDelete(_ context.Context, _ *Boat) (admission.Warnings, error) { return nil, nil }

func main() {
	ctrl.SetLogger(zap.New())
	port, _ := strconv.Atoi(os.Getenv("WEBHOOK_PORT"))
	builder := &scheme.Builder{GroupVersion: schema.GroupVersion{Group: "fleet.example.com", Version: "v1"}}
	builder.Register(&Boat{}, &BoatList{})
	manager, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Metrics:                 server.Options{BindAddress: "0"},
		LeaderElection:          true,
		LeaderElectionID:        "boats.example.com",
		LeaderElectionNamespace: "default",
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: "127.0.0.1", Port: port, CertDir: os.Getenv("CERT_DIR"),
		}),
	})
	must(err)
	must(builder.AddToScheme(manager.GetScheme()))
	must(ctrl.NewControllerManagedBy(manager).For(&Boat{}).Owns(&corev1.ConfigMap{}).
		Complete(&reconciler{manager.GetClient()}))
	must(ctrl.NewWebhookManagedBy(manager, &Boat{}).WithDefaulter(hooks{}).WithValidator(hooks{}).Complete())
	must(manager.Start(ctrl.SetupSignalHandler()))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
