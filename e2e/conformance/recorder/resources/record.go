package resources

import "knative.dev/serving/pkg/recording"

func (pa PodAccessor) PodCountsByState() (ready, notReady, pending, terminating int, err error) {
	ready, notReady, pending, terminating, err = pa.upstreamPodCountsByState()
	pods, listed := pa.podsLister.List(pa.selector)
	recording.Write("pods", recording.Fields{
		"pods": recording.Copy(pods), "failed": err != nil || listed != nil,
		"ready": ready, "notReady": notReady, "pending": pending, "terminating": terminating,
	})
	return ready, notReady, pending, terminating, err
}
