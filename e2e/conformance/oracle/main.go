// Command oracle lets Knative's own autoscaler decide on scripts: JSON lines in, JSON lines out.
//
// It calls upstream's metrics collector and autoscaler; nothing of the algorithm is written here. Time in a
// script is virtual: step times are nanoseconds after "base", and the answer names the base that was used.
// Upstream reads the wall clock too, where it starts in panic and where a window is resized. Build with
// `-tags faketime`, Go's own standing clock: a wall clock that goes on decides what falls on the end of a window.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/autoscaler/metrics"
	"knative.dev/serving/pkg/autoscaler/scaling"
)

type spec struct {
	MaxScaleUpRate, MaxScaleDownRate, TargetValue, TotalValue float64
	TargetBurstCapacity, PanicThreshold                       float64
	ScalingMetric, Aggregation                                string
	StableWindowNs, PanicWindowNs, ScaleDownDelayNs           int64
	ActivationScale                                           int32
	Reachable, Scraped                                        bool
}

type stat struct {
	AtNs                                                       int64
	Concurrency, ProxiedConcurrency, Requests, ProxiedRequests float64
}

type step struct {
	AtNs  int64
	Ready int // -1: the count is unknown
	Stats []stat
	Spec  *spec
}

type script struct {
	Spec       spec
	ReadyFirst int
	// AnchorNs is the virtual time that coincides with the wall clock.
	AnchorNs int64
	Steps    []step
}

type result struct {
	Desired, Ebc  int32
	Valid         bool
	Stable, Panic float64
	NoData        bool
}

type answer struct {
	BaseNs  int64
	Results []result
	Error   string `json:",omitempty"`
}

type counter struct{ ready int }

func (c *counter) ReadyCount() (int, error) {
	if c.ready < 0 {
		return 0, errors.New("unknown")
	}
	return c.ready, nil
}

func (c *counter) NotReadyCount() (int, error) { return 0, nil }

// silent is a scraper whose pods never answer, so that only scripted stats are recorded.
type silent struct{}

func (silent) Scrape(time.Duration) (metrics.Stat, error) {
	return metrics.Stat{}, metrics.ErrDidNotReceiveStat
}

var key = types.NamespacedName{Namespace: "n", Name: "r"}

func (s spec) decider() *scaling.DeciderSpec {
	return &scaling.DeciderSpec{
		MaxScaleUpRate: s.MaxScaleUpRate, MaxScaleDownRate: s.MaxScaleDownRate, ScalingMetric: s.ScalingMetric,
		TargetValue: s.TargetValue, TotalValue: s.TotalValue, TargetBurstCapacity: s.TargetBurstCapacity,
		ActivatorCapacity: 100, PanicThreshold: s.PanicThreshold, StableWindow: time.Duration(s.StableWindowNs),
		ScaleDownDelay: time.Duration(s.ScaleDownDelayNs), ActivationScale: s.ActivationScale, Reachable: s.Reachable,
	}
}

func (s spec) metric() *autoscalingv1alpha1.Metric {
	target := ""
	if s.Scraped {
		target = "r-private"
	}
	return &autoscalingv1alpha1.Metric{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Annotations: map[string]string{
			autoscaling.MetricAggregationAlgorithmKey: s.Aggregation,
		}},
		Spec: autoscalingv1alpha1.MetricSpec{
			StableWindow: time.Duration(s.StableWindowNs), PanicWindow: time.Duration(s.PanicWindowNs), ScrapeTarget: target,
		},
	}
}

func run(s script) answer {
	log := zap.NewNop().Sugar()
	collector := metrics.NewMetricCollector(func(m *autoscalingv1alpha1.Metric, _ *zap.SugaredLogger) (metrics.StatsScraper, error) {
		if m.Spec.ScrapeTarget == "" {
			return nil, nil
		}
		return silent{}, nil
	}, log)
	defer collector.Delete(key.Namespace, key.Name)
	current := s.Spec
	if err := collector.CreateOrUpdate(current.metric()); err != nil {
		return answer{Error: err.Error()}
	}
	pods := &counter{s.ReadyFirst}
	wall := time.Now()
	base := wall.Add(-time.Duration(s.AnchorNs))
	scaler := scaling.New(*attribute.EmptySet(), noop.NewMeterProvider(), key.Namespace, key.Name, collector, pods, current.decider())
	out := answer{BaseNs: base.UnixNano(), Results: make([]result, 0, len(s.Steps))}
	for _, st := range s.Steps {
		if st.Spec != nil {
			current = *st.Spec
			if err := collector.CreateOrUpdate(current.metric()); err != nil {
				return answer{Error: err.Error()}
			}
			scaler.Update(current.decider())
		}
		for _, x := range st.Stats {
			collector.Record(key, base.Add(time.Duration(x.AtNs)), metrics.Stat{
				AverageConcurrentRequests: x.Concurrency, AverageProxiedConcurrentRequests: x.ProxiedConcurrency,
				RequestCount: x.Requests, ProxiedRequestCount: x.ProxiedRequests,
			})
		}
		pods.ready = st.Ready
		now := base.Add(time.Duration(st.AtNs))
		out.Results = append(out.Results, decide(collector, scaler, current, now))
	}
	if !time.Now().Equal(wall) {
		return answer{Error: "the wall clock went on under the script: build with -tags faketime"}
	}
	return out
}

func decide(collector *metrics.MetricCollector, scaler scaling.UniScaler, current spec, now time.Time) result {
	read := collector.StableAndPanicConcurrency
	if current.ScalingMetric == autoscaling.RPS {
		read = collector.StableAndPanicRPS
	}
	stable, panicking, err := read(key, now)
	r := scaler.Scale(zap.NewNop().Sugar(), now)
	return result{
		Desired: r.DesiredPodCount, Ebc: r.ExcessBurstCapacity, Valid: r.ScaleValid,
		Stable: stable, Panic: panicking, NoData: err != nil,
	}
}

// output is stdout by another number: under faketime, what is written to 1 and 2 gets a header with the time.
func output() *os.File {
	fd, err := syscall.Dup(1)
	if err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
	return os.NewFile(uintptr(fd), "stdout")
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(output())
	defer out.Flush()
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for decoder.More() {
		var s script
		if err := decoder.Decode(&s); err != nil {
			fmt.Fprintln(os.Stderr, "oracle: bad script:", err)
			os.Exit(2)
		}
		if err := encoder.Encode(run(s)); err != nil {
			fmt.Fprintln(os.Stderr, "oracle:", err)
			os.Exit(1)
		}
		if err := out.Flush(); err != nil {
			os.Exit(1)
		}
	}
}
