package kpa

import (
	"context"
	"errors"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/tools/cache"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/logging"
	"knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	asconfig "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/deployment"
	"knative.dev/serving/pkg/reconciler/autoscaling/config"
	"knative.dev/serving/pkg/reconciler/autoscaling/kpa/resources"
	aresources "knative.dev/serving/pkg/reconciler/autoscaling/resources"
)

// texts are values as users write them, right and wrong.
var texts = []string{
	"0", "1", "2", "5", "10", "-1", "+3", "007", " 5", "5 ", "", "1e2", "0x10", "0x1p4", "1_000", "1.5", ".5", "5.", "0.01",
	"70", "99.9", "100", "200", "211", "1000", "2147483647", "2147483648", "abc", "6s", "7s", "60s", "61s", "1m30s", "1.5h",
	"90", "600ms", "15s500ms", "-5s", "1h", "s", "true",
}

var annotationNames = []string{
	"min-scale", "minScale", "max-scale", "maxScale", "initial-scale", "initialScale", "target", "window", "metric",
	"target-utilization-percentage", "targetUtilizationPercentage", "target-burst-capacity", "targetBurstCapacity",
	"panic-window-percentage", "panicWindowPercentage", "panic-threshold-percentage", "panicThresholdPercentage",
	"scale-down-delay", "scaleDownDelay", "activation-scale", "scale-to-zero-pod-retention-period",
	"scaleToZeroPodRetentionPeriod",
}

var settingNames = []string{
	"container-concurrency-target-percentage", "container-concurrency-target-default", "requests-per-second-target-default",
	"target-burst-capacity", "stable-window", "panic-window-percentage", "panic-threshold-percentage", "max-scale-up-rate",
	"max-scale-down-rate", "enable-scale-to-zero", "scale-to-zero-grace-period", "scale-to-zero-pod-retention-period",
	"scale-down-delay", "activator-capacity", "initial-scale", "allow-zero-initial-scale", "min-scale", "max-scale",
	"max-scale-limit",
}

type chance struct{ *rand.Rand }

func (c chance) text() string { return texts[c.Intn(len(texts))] }

func (c chance) condition(kind apis.ConditionType, now time.Time) apis.Condition {
	ago := []int{0, 1, 5, 29, 31, 59, 61, 89, 91, 650, 2000}[c.Intn(11)]
	return apis.Condition{
		Type: kind, Status: []corev1.ConditionStatus{"True", "False", "Unknown"}[c.Intn(3)],
		// Whole seconds, as stored: what JSON shows is what was decided by.
		LastTransitionTime: apis.VolatileTime{Inner: metav1.NewTime(now.Truncate(time.Second).Add(-time.Duration(ago) * time.Second))},
	}
}

func (c chance) podAutoscaler(now time.Time) *v1alpha1.PodAutoscaler {
	pa := &v1alpha1.PodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "r", Generation: 1, Annotations: map[string]string{}}}
	for range c.Intn(6) {
		pa.Annotations["autoscaling.knative.dev/"+annotationNames[c.Intn(len(annotationNames))]] = c.text()
	}
	if percentage, ok := pa.PanicWindowPercentage(); ok && (percentage < 0 || percentage > 100) {
		// The webhook refuses it; here it would overflow a Duration, which Go leaves undefined.
		delete(pa.Annotations, "autoscaling.knative.dev/panic-window-percentage")
		delete(pa.Annotations, "autoscaling.knative.dev/panicWindowPercentage")
	}
	pa.Annotations["autoscaling.knative.dev/class"] = "kpa.autoscaling.knative.dev"
	if c.Intn(2) == 0 {
		pa.Annotations["autoscaling.knative.dev/metric"] = []string{"concurrency", "rps"}[c.Intn(2)]
	}
	if c.Intn(8) == 0 {
		pa.Annotations["serving.knative.dev/progress-deadline"] = c.text()
	}
	pa.Spec.ContainerConcurrency = []int64{0, 0, 1, 5, 100}[c.Intn(5)]
	pa.Spec.Reachability = []v1alpha1.ReachabilityType{"", "Reachable", "Unreachable"}[c.Intn(3)]
	pa.Spec.ScaleTargetRef = corev1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "r-deployment"}
	pa.Status.ObservedGeneration = 1
	pa.Status.Conditions = []apis.Condition{
		c.condition(v1alpha1.PodAutoscalerConditionActive, now), c.condition(v1alpha1.PodAutoscalerConditionReady, now),
		c.condition(v1alpha1.PodAutoscalerConditionSKSReady, now),
		c.condition(v1alpha1.PodAutoscalerConditionScaleTargetInitialized, now),
	}
	if c.Intn(3) > 0 {
		pa.Status.ServiceName = "r"
	}
	if c.Intn(3) > 0 {
		known := int32(c.Intn(4) - 1)
		pa.Status.DesiredScale = &known
	}
	return pa
}

func (c chance) serverlessService(now time.Time) *netv1alpha1.ServerlessService {
	sks := &netv1alpha1.ServerlessService{}
	sks.Spec.Mode = []netv1alpha1.ServerlessServiceOperationMode{"Proxy", "Serve"}[c.Intn(2)]
	if c.Intn(4) > 0 {
		sks.Status.Conditions = []apis.Condition{c.condition(netv1alpha1.ActivatorEndpointsPopulated, now)}
	}
	return sks
}

type target struct{ found *v1alpha1.PodScalable }

func (t target) List(labels.Selector) ([]runtime.Object, error)  { return nil, nil }
func (t target) ByNamespace(string) cache.GenericNamespaceLister { return t }
func (t target) Get(string) (runtime.Object, error) {
	if t.found == nil {
		return nil, errors.New("not there")
	}
	return t.found, nil
}

type noProber struct{}

func (noProber) Offer(context.Context, string, interface{}, time.Duration, time.Duration, ...interface{}) bool {
	return true
}

// TestRandom makes as many random calls as RANDOM_CASES says, for the recorder.
func TestRandom(t *testing.T) {
	cases, _ := strconv.Atoi(os.Getenv("RANDOM_CASES"))
	seed, _ := strconv.ParseInt(os.Getenv("RANDOM_SEED"), 10, 64)
	c := chance{rand.New(rand.NewSource(seed))}
	client := fake.NewSimpleDynamicClient(runtime.NewScheme())
	reconciler := &Reconciler{}
	for range cases {
		now := time.Now()
		data := map[string]string{}
		for range c.Intn(4) {
			data[settingNames[c.Intn(len(settingNames))]] = c.text()
		}
		cfg, err := asconfig.NewConfigFromMap(data)
		if err != nil {
			cfg, _ = asconfig.NewConfigFromMap(nil)
		}
		deadline := []time.Duration{time.Minute, 10 * time.Minute}[c.Intn(2)]
		ctx := config.ToContext(context.Background(), &config.Config{
			Autoscaler: cfg, Deployment: &deployment.Config{ProgressDeadline: deadline},
		})
		pa, sks := c.podAutoscaler(now), c.serverlessService(now)
		replicas := int32(c.Intn(4))
		lister := target{&v1alpha1.PodScalable{Spec: v1alpha1.PodScalableSpec{Replicas: &replicas}}}
		if c.Intn(20) == 0 {
			lister.found = nil
		}
		answers := c.Intn(2) == 0
		ks := &scaler{
			listerFactory:  func(schema.GroupVersionResource) (cache.GenericLister, error) { return lister, nil },
			dynamicClient:  client,
			activatorProbe: func(*v1alpha1.PodAutoscaler, http.RoundTripper) (bool, error) { return answers, nil },
			probeManager:   noProber{},
			enqueueCB:      func(interface{}, time.Duration) {},
		}
		want, _ := ks.scale(ctx, pa, sks, []int32{-1, 0, 0, 0, 1, 2, 7, 300}[c.Intn(8)])
		decider := resources.MakeDecider(pa, cfg)
		aresources.MakeMetric(pa, "r-private", cfg)
		ready := c.Intn(5)
		computeNumActivators(ready, decider)
		reconciler.computeStatus(ctx, pa, podCounts{want: int(want), ready: ready}, logging.FromContext(ctx))
	}
}
