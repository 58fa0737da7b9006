package max

import (
	"fmt"

	"knative.dev/serving/pkg/recording"
)

func newWindow(size int) *window {
	m := upstreamNewWindow(size)
	recording.Write("maximum", recording.Fields{"op": "new", "id": fmt.Sprintf("%p", m), "size": size})
	return m
}

func (m *window) Record(index int, v int32) {
	m.upstreamRecord(index, v)
	recording.Write("maximum", recording.Fields{"op": "record", "id": fmt.Sprintf("%p", m), "index": index, "value": v, "current": m.Current()})
}
