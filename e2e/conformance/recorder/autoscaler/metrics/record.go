package metrics

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"go.uber.org/zap"
	"knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/recording"
)

func newCollection(metric *v1alpha1.Metric, scraper StatsScraper, clock clock.WithTicker,
	callback func(types.NamespacedName), logger *zap.SugaredLogger,
) *collection {
	c := upstreamNewCollection(metric, scraper, clock, callback, logger)
	recording.Write("collection", recording.Fields{
		"op": "new", "id": fmt.Sprintf("%p", c), "metric": recording.Copy(metric), "aggregation": metric.AggregationAlgorithm(),
	})
	return c
}

func (c *collection) updateMetric(metric *v1alpha1.Metric) {
	recording.Write("collection", recording.Fields{
		"op": "update", "id": fmt.Sprintf("%p", c), "metric": recording.Copy(metric), "at": recording.At(time.Now()),
	})
	c.upstreamUpdateMetric(metric)
}

func (c *collection) record(now time.Time, stat Stat) {
	recording.Write("collection", recording.Fields{
		"op": "record", "id": fmt.Sprintf("%p", c), "at": recording.At(now), "concurrency": stat.AverageConcurrentRequests,
		"proxiedConcurrency": stat.AverageProxiedConcurrentRequests, "requests": stat.RequestCount,
		"proxiedRequests": stat.ProxiedRequestCount,
	})
	c.upstreamRecord(now, stat)
}

func (c *MetricCollector) StableAndPanicConcurrency(key types.NamespacedName, now time.Time) (float64, float64, error) {
	stable, panicking, err := c.upstreamStableAndPanicConcurrency(key, now)
	c.read("concurrency", key, now, stable, panicking, err)
	return stable, panicking, err
}

func (c *MetricCollector) StableAndPanicRPS(key types.NamespacedName, now time.Time) (float64, float64, error) {
	stable, panicking, err := c.upstreamStableAndPanicRPS(key, now)
	c.read("rps", key, now, stable, panicking, err)
	return stable, panicking, err
}

func (c *MetricCollector) read(metric string, key types.NamespacedName, now time.Time, stable, panicking float64, err error) {
	c.collectionsMutex.RLock()
	defer c.collectionsMutex.RUnlock()
	recording.Write("collection", recording.Fields{
		"op": "read", "id": fmt.Sprintf("%p", c.collections[key]), "at": recording.At(now), "scalingMetric": metric,
		"stable": stable, "panic": panicking, "failed": err != nil,
	})
}

func populationMeanSampleSize(population float64) float64 {
	size := upstreamPopulationMeanSampleSize(population)
	recording.Write("sample", recording.Fields{"population": population, "size": size})
	return size
}
