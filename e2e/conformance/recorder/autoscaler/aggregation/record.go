package aggregation

import (
	"fmt"
	"time"

	"knative.dev/serving/pkg/recording"
)

func id(t *TimedFloat64Buckets) string { return fmt.Sprintf("%p", t) }

func NewTimedFloat64Buckets(window, granularity time.Duration) *TimedFloat64Buckets {
	t := upstreamNewTimedFloat64Buckets(window, granularity)
	recording.Write("window", recording.Fields{"op": "new", "id": id(t), "window": window, "granularity": granularity})
	return t
}

func NewWeightedFloat64Buckets(window, granularity time.Duration) *WeightedFloat64Buckets {
	t := upstreamNewWeightedFloat64Buckets(window, granularity)
	recording.Write("window", recording.Fields{"op": "weighted", "id": id(t.TimedFloat64Buckets), "window": window, "granularity": granularity})
	return t
}

func (t *TimedFloat64Buckets) Record(now time.Time, value float64) {
	recording.Write("window", recording.Fields{"op": "record", "id": id(t), "at": recording.At(now), "value": value})
	t.upstreamRecord(now, value)
}

func (t *TimedFloat64Buckets) IsEmpty(now time.Time) bool {
	empty := t.upstreamIsEmpty(now)
	recording.Write("window", recording.Fields{"op": "empty", "id": id(t), "at": recording.At(now), "value": empty})
	return empty
}

func (t *TimedFloat64Buckets) WindowAverage(now time.Time) float64 {
	average := t.upstreamWindowAverage(now)
	recording.Write("window", recording.Fields{"op": "average", "id": id(t), "at": recording.At(now), "value": average})
	return average
}

func (t *WeightedFloat64Buckets) WindowAverage(now time.Time) float64 {
	average := t.upstreamWindowAverage(now)
	recording.Write("window", recording.Fields{"op": "average", "id": id(t.TimedFloat64Buckets), "at": recording.At(now), "value": average})
	return average
}

func (t *TimedFloat64Buckets) ResizeWindow(w time.Duration) {
	recording.Write("window", recording.Fields{"op": "resize", "id": id(t), "at": recording.At(time.Now()), "window": w})
	t.upstreamResizeWindow(w)
}
