// Command fakes plays the activator and the queue-proxies of N revisions for the autoscaler's bench.
//
// One line in, "INDEX CONCURRENCY", changes a revision's load; one line out, "INDEX UNIX_SECONDS", says when the new
// load was told first. "frames N" or "answers N connections M" is printed at "?". Standard library only.
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var (
	count    = flag.Int("n", 0, "revisions")
	perSpace = flag.Int("per-namespace", 20, "revisions in a namespace")
	push     = flag.String("push", "", "host:port of the stat server; empty: answer scrapes instead")
	steady   = flag.Float64("load", 5, "requests in flight of each revision at first")
	latency  = flag.Float64("latency", 0, "seconds of a request, which come by chance; 0: an even load, two requests for each in flight")
	listen   = flag.String("listen", "0.0.0.0:9090", "where queue-proxies answer")

	mu      sync.Mutex
	load    []float64
	changed = map[int]bool{}

	frames, answers, connections atomic.Int64
)

// told reads a revision's load, in flight and come in a second, and reports the first time that a changed one is told.
func told(index int) (float64, float64) {
	mu.Lock()
	defer mu.Unlock()
	if changed[index] {
		delete(changed, index)
		fmt.Printf("%d %.6f\n", index, float64(time.Now().UnixNano())/1e9)
	}
	if *latency > 0 {
		requests := poisson(load[index] / *latency)
		return requests * *latency, requests
	}
	concurrency := load[index] * (0.85 + 0.3*rand.Float64())
	return concurrency, 2 * concurrency
}

// poisson counts the arrivals of a second: gaps are exponential.
func poisson(rate float64) float64 {
	count := 0.0
	for at := rand.ExpFloat64(); at < rate; at += rand.ExpFloat64() {
		count++
	}
	return count
}

func number(b []byte, field byte, value float64) []byte {
	b = append(b, field<<3|1)
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(value))
}

func text(b []byte, field byte, value []byte) []byte {
	b = append(b, field<<3|2)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func stat(pod string, concurrency, requests float64) []byte {
	b := text(nil, 1, []byte(pod))
	b = number(b, 2, concurrency)
	return number(b, 4, requests)
}

func frame() []byte {
	var b []byte
	for index := range *count {
		var one []byte
		one = text(one, 1, fmt.Appendf(nil, "bench-%d", index / *perSpace))
		one = text(one, 2, fmt.Appendf(nil, "r-%d", index))
		concurrency, requests := told(index)
		one = text(one, 3, stat("activator", concurrency, requests))
		b = text(b, 1, one)
	}
	return b
}

// activator keeps one websocket open and sends one frame a second; the server's pings are not needed, ours are sent.
func activator() error {
	conn, err := net.Dial("tcp", *push)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", *push)
	reader := bufio.NewReader(conn)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\r\n" {
			break
		}
	}
	gone := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, reader)
		gone <- err
	}()
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for number := 0; ; number++ {
		select {
		case err := <-gone:
			return fmt.Errorf("closed: %v", err)
		case <-ticks.C:
		}
		if err := send(conn, 2, frame()); err != nil {
			return err
		}
		frames.Add(1)
		if number%3 == 0 {
			if err := send(conn, 9, nil); err != nil {
				return err
			}
		}
	}
}

// send writes one websocket frame, masked with zeros: the payload as it is.
func send(conn net.Conn, opcode byte, payload []byte) error {
	head := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		head = append(head, 0x80|byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 0x80|126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 0x80|127), uint64(n))
	}
	_, err := conn.Write(append(append(head, 0, 0, 0, 0), payload...))
	return err
}

// queueProxy answers scrapes on one connection; the address that was dialled says whose pod it is.
func queueProxy(conn net.Conn) {
	defer conn.Close()
	connections.Add(1)
	ip := conn.LocalAddr().(*net.TCPAddr).IP.To4()
	index := int(ip[2])*250 + int(ip[3]) - 1
	reader := bufio.NewReaderSize(conn, 1024)
	for {
		for {
			line, err := reader.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) <= 2 {
				break
			}
		}
		concurrency, requests := told(index)
		body := stat(fmt.Sprintf("r-%d-pod", index), concurrency, requests)
		_, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/protobuf\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if err != nil {
			return
		}
		answers.Add(1)
	}
}

func queueProxies() {
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakes:", err)
		os.Exit(1)
	}
	for {
		if conn, err := listener.Accept(); err == nil {
			go queueProxy(conn)
		}
	}
}

func main() {
	flag.Parse()
	load = make([]float64, *count)
	for index := range load {
		load[index] = *steady
	}
	if *push != "" {
		go func() {
			for {
				fmt.Fprintln(os.Stderr, "fakes: activator:", activator())
				time.Sleep(100 * time.Millisecond)
			}
		}()
	} else {
		go queueProxies()
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var index int
		var value float64
		if _, err := fmt.Sscanf(in.Text(), "%d %f", &index, &value); err != nil {
			fmt.Printf("frames %d answers %d connections %d\n", frames.Load(), answers.Load(), connections.Load())
			continue
		}
		mu.Lock()
		load[index], changed[index] = value, true
		mu.Unlock()
	}
}
