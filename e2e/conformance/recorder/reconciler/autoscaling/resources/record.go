package resources

import (
	"knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/recording"
)

func ResolveMetricTarget(pa *v1alpha1.PodAutoscaler, config *autoscalerconfig.Config) (float64, float64) {
	target, total := upstreamResolveMetricTarget(pa, config)
	recording.Write("target", recording.Fields{
		"pa": recording.Copy(pa), "config": recording.Copy(config), "target": target, "total": total,
	})
	return target, total
}

func MakeMetric(pa *v1alpha1.PodAutoscaler, service string, config *autoscalerconfig.Config) *v1alpha1.Metric {
	metric := upstreamMakeMetric(pa, service, config)
	recording.Write("metric", recording.Fields{
		"pa": recording.Copy(pa), "config": recording.Copy(config), "service": service, "metric": recording.Copy(metric),
	})
	return metric
}
