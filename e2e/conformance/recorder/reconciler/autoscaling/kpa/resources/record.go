package resources

import (
	"knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/autoscaler/scaling"
	"knative.dev/serving/pkg/recording"
)

func MakeDecider(pa *v1alpha1.PodAutoscaler, config *autoscalerconfig.Config) *scaling.Decider {
	decider := upstreamMakeDecider(pa, config)
	recording.Write("decider", recording.Fields{
		"pa": recording.Copy(pa), "config": recording.Copy(config), "spec": recording.Copy(decider.Spec),
	})
	return decider
}

func GetInitialScale(config *autoscalerconfig.Config, pa *v1alpha1.PodAutoscaler) int32 {
	scale := upstreamGetInitialScale(config, pa)
	recording.Write("initial", recording.Fields{"pa": recording.Copy(pa), "config": recording.Copy(config), "scale": scale})
	return scale
}
