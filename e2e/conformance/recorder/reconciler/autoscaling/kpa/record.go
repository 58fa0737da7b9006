package kpa

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	pav1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/autoscaler/scaling"
	"knative.dev/serving/pkg/reconciler/autoscaling/config"
	"knative.dev/serving/pkg/recording"
	"knative.dev/serving/pkg/resources"
)

// patched has the scales that were written since the last call of scale; upstream's tests run one at a time.
var patched []int32

func (ks *scaler) applyScale(ctx context.Context, pa *pav1alpha1.PodAutoscaler, desired int32, ps *pav1alpha1.PodScalable) error {
	patched = append(patched, desired)
	return ks.upstreamApplyScale(ctx, pa, desired, ps)
}

func (ks *scaler) scale(ctx context.Context, pa *pav1alpha1.PodAutoscaler, sks *v1alpha1.ServerlessService, desired int32) (int32, error) {
	fields := recording.Fields{
		"pa": recording.Copy(pa), "sks": recording.Copy(sks), "desired": desired, "at": recording.At(time.Now()),
		"config": recording.Copy(config.FromContext(ctx).Autoscaler), "progressDeadline": config.FromContext(ctx).Deployment.ProgressDeadline,
	}
	if ps, err := resources.GetScaleResource(pa.Namespace, pa.Spec.ScaleTargetRef, ks.listerFactory); err == nil {
		fields["replicas"] = ps.Spec.Replicas
	} else {
		fields["noTarget"] = true
	}
	patched = []int32{}
	// A copy of the scaler with its callbacks watched: the scaler itself may be shared between tests.
	watched, rechecks, answers := *ks, []time.Duration{}, []bool{}
	watched.enqueueCB = func(obj interface{}, after time.Duration) {
		rechecks = append(rechecks, after)
		ks.enqueueCB(obj, after)
	}
	watched.activatorProbe = func(pa *pav1alpha1.PodAutoscaler, transport http.RoundTripper) (bool, error) {
		ok, err := ks.activatorProbe(pa, transport)
		answers = append(answers, ok)
		return ok, err
	}
	want, err := watched.upstreamScale(ctx, pa, sks, desired)
	fields["want"], fields["failed"], fields["rechecks"], fields["answers"] = want, err != nil, rechecks, answers
	fields["patched"] = patched
	recording.Write("podscale", fields)
	return want, err
}

func (c *Reconciler) computeStatus(ctx context.Context, pa *pav1alpha1.PodAutoscaler, pc podCounts, logger *zap.SugaredLogger) {
	before := recording.Copy(pa)
	c.upstreamComputeStatus(ctx, pa, pc, logger)
	recording.Write("status", recording.Fields{
		"pa": before, "want": pc.want, "ready": pc.ready, "config": recording.Copy(config.FromContext(ctx).Autoscaler),
		"after": recording.Copy(pa.Status), "at": recording.At(time.Now()),
	})
}

func computeNumActivators(ready int, decider *scaling.Decider) int32 {
	number := upstreamComputeNumActivators(ready, decider)
	recording.Write("activators", recording.Fields{"ready": ready, "spec": recording.Copy(decider.Spec), "number": number})
	return number
}
