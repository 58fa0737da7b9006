package v1alpha1

import (
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/recording"
)

func (pa *PodAutoscaler) ScaleBounds(config *autoscalerconfig.Config) (int32, int32) {
	least, most := pa.upstreamScaleBounds(config)
	recording.Write("bounds", recording.Fields{
		"pa": recording.Copy(pa), "config": recording.Copy(config), "least": least, "most": most,
	})
	return least, most
}

func (pas *PodAutoscalerStatus) marking(what string, texts []string, mark func()) {
	before, changed := recording.Copy(pas), map[string]int64{}
	for _, condition := range pas.Conditions {
		// JSON has whole seconds, and the order of changes within one matters.
		changed[string(condition.Type)] = recording.At(condition.LastTransitionTime.Inner.Time)
	}
	mark()
	recording.Write("condition", recording.Fields{
		"mark": what, "texts": texts, "before": before, "changed": changed, "after": recording.Copy(pas),
	})
}

func (pas *PodAutoscalerStatus) InitializeConditions() {
	pas.marking("initialize", nil, pas.upstreamInitializeConditions)
}

func (pas *PodAutoscalerStatus) MarkScaleTargetInitialized() {
	pas.marking("initialized", nil, pas.upstreamMarkScaleTargetInitialized)
}

func (pas *PodAutoscalerStatus) MarkSKSReady() {
	pas.marking("sks-ready", nil, pas.upstreamMarkSKSReady)
}

func (pas *PodAutoscalerStatus) MarkSKSNotReady(message string) {
	pas.marking("sks-not-ready", []string{message}, func() { pas.upstreamMarkSKSNotReady(message) })
}

func (pas *PodAutoscalerStatus) MarkActive() { pas.marking("active", nil, pas.upstreamMarkActive) }

func (pas *PodAutoscalerStatus) MarkActivating(reason, message string) {
	pas.marking("activating", []string{reason, message}, func() { pas.upstreamMarkActivating(reason, message) })
}

func (pas *PodAutoscalerStatus) MarkInactive(reason, message string) {
	pas.marking("inactive", []string{reason, message}, func() { pas.upstreamMarkInactive(reason, message) })
}
