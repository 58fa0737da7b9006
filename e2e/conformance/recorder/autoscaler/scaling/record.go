package scaling

import (
	"fmt"
	"reflect"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/autoscaling"
	"knative.dev/serving/pkg/autoscaler/aggregation/max"
	am "knative.dev/serving/pkg/autoscaler/metrics"
	"knative.dev/serving/pkg/recording"
)

func newAutoscaler(attrs attribute.Set, mp metric.MeterProvider, namespace, revision string, metricClient am.MetricClient,
	podCounter podCounter, deciderSpec *DeciderSpec, delayWindow *max.TimeWindow,
) *autoscaler {
	slots := 0
	if delayWindow != nil {
		slots = reflect.ValueOf(delayWindow).Elem().FieldByName("window").Elem().FieldByName("maxima").Len()
	}
	a := upstreamNewAutoscaler(attrs, mp, namespace, revision, metricClient, podCounter, deciderSpec, delayWindow)
	recording.Write("scale", recording.Fields{
		"op": "new", "id": fmt.Sprintf("%p", a), "spec": recording.Copy(deciderSpec), "ready": a.maxPanicPods,
		"at": recording.At(time.Now()), "panicTime": recording.At(a.panicTime), "delaySlots": slots,
	})
	return a
}

func (a *autoscaler) Scale(logger *zap.SugaredLogger, now time.Time) ScaleResult {
	spec := a.currentSpec()
	ready, err := a.podCounter.ReadyCount()
	if err != nil && !apierrors.IsNotFound(err) {
		ready = -1
	}
	fields := recording.Fields{
		"op": "scale", "id": fmt.Sprintf("%p", a), "at": recording.At(now), "spec": recording.Copy(spec), "ready": ready,
		"panicTime": recording.At(a.panicTime), "maxPanicPods": a.maxPanicPods,
	}
	result := a.upstreamScale(logger, now)
	fields["stable"], fields["panic"], fields["failed"] = a.observed(spec, now)
	fields["result"] = recording.Copy(result)
	fields["panicTimeAfter"], fields["maxPanicPodsAfter"] = recording.At(a.panicTime), a.maxPanicPods
	recording.Write("scale", fields)
	return result
}

func (a *autoscaler) observed(spec *DeciderSpec, now time.Time) (float64, float64, bool) {
	key := types.NamespacedName{Namespace: a.namespace, Name: a.revision}
	read := a.metricClient.StableAndPanicConcurrency
	if spec.ScalingMetric == autoscaling.RPS {
		read = a.metricClient.StableAndPanicRPS
	}
	stable, panicking, err := read(key, now)
	return stable, panicking, err != nil
}
