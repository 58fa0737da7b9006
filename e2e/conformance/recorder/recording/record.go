// Package recording writes what Knative's own functions are given and return, one JSON line a call.
// It is laid over knative.dev/serving with `go test -overlay` while upstream's tests run.
package recording

import (
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

var (
	mu  sync.Mutex
	out *os.File
)

// Fields of a line. Times are Unix nanoseconds.
type Fields map[string]any

// Write appends a line. Values are encoded at once, so that a caller may go on changing them.
func Write(kind string, fields Fields) {
	fields["kind"], fields["test"] = kind, test()
	line, err := json.Marshal(fields)
	if err != nil {
		line, _ = json.Marshal(Fields{"kind": "lost", "of": kind, "why": err.Error()})
	}
	mu.Lock()
	defer mu.Unlock()
	if out == nil {
		out, err = os.OpenFile(os.Getenv("RECORDING"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			panic(err)
		}
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}

// Copy freezes a value as JSON.
func Copy(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

// At is a time on the wire; 0 for the zero time.
func At(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// test names the upstream test that called; empty in other goroutines.
func test() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		frame, more := frames.Next()
		name := frame.Function[strings.LastIndex(frame.Function, "/")+1:]
		if _, after, found := strings.Cut(name, ".Test"); found {
			if before, _, _ := strings.Cut(after, "."); before != "" {
				return "Test" + before
			}
		}
		if !more {
			return ""
		}
	}
}
