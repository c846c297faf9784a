package journal_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"tidings"
	"tidings/journal"
)

func openBench(b *testing.B, o journal.Options) *journal.JetStream {
	b.Helper()
	o.Dir = b.TempDir()
	j, err := journal.OpenJetStream(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { j.Close() })
	return j
}

func benchEvent(i int) tidings.Event {
	return tidings.Event{
		Topic: tidings.Topic(fmt.Sprintf("/recentchange/w%d.example.org", i%900)), Key: fmt.Sprintf("w%d:%d", i%900, i),
		ContentType: "application/json", Payload: benchPayload, Publisher: "source:bench",
	}
}

var benchPayload = bytes.Repeat([]byte("0123456789abcdef"), 64)

// benchAppend appends b.N events, n a call, from as many goroutines.
func benchAppend(b *testing.B, goroutines, n int) {
	for _, mode := range []string{journal.Fsync, journal.Interval} {
		b.Run(mode, func(b *testing.B) {
			j := openBench(b, journal.Options{Durability: mode})
			b.SetBytes(int64(len(benchPayload)))
			b.ReportAllocs()
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range goroutines {
				wg.Go(func() {
					for {
						from := int(next.Add(int64(n))) - n
						if from >= b.N {
							return
						}
						evs := make([]tidings.Event, min(n, b.N-from))
						for i := range evs {
							evs[i] = benchEvent(from + i)
						}
						if _, err := j.Append(context.Background(), evs...); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(b.N)/float64(j.Stats().Commits), "events/commit")
		})
	}
}

func BenchmarkAppendSingle(b *testing.B)       { benchAppend(b, 1, 1) }
func BenchmarkAppendConcurrent64(b *testing.B) { benchAppend(b, 64, 1) }
func BenchmarkAppendBatch512(b *testing.B)     { benchAppend(b, 1, 512) }

// BenchmarkRead reads events from the store and from memory, 500 at a time.
func BenchmarkRead(b *testing.B) {
	const n = 50000
	for _, bb := range []struct {
		name     string
		tail     int64
		patterns []tidings.Pattern
		each     int // one event of so many matches
	}{
		{"store", 1, nil, 1},
		{"store/topic", 1, []tidings.Pattern{tidings.MustPattern("/recentchange/w7.example.org")}, 900},
		{"memory", 256 << 20, nil, 1},
		{"memory/glob", 256 << 20, []tidings.Pattern{tidings.MustPattern("/recentchange/w1*.example.org")}, 9},
	} {
		b.Run(bb.name, func(b *testing.B) {
			j := openBench(b, journal.Options{Durability: journal.Interval, TailBytes: bb.tail})
			for i := 0; i < n; i += 500 {
				evs := make([]tidings.Event, 500)
				for k := range evs {
					evs[k] = benchEvent(i + k)
				}
				if _, err := j.Append(context.Background(), evs...); err != nil {
					b.Fatal(err)
				}
			}
			zero := tidings.Position{Epoch: j.Head().Epoch}
			b.ResetTimer()
			read := 0
			for at := zero; read < b.N; {
				evs, upTo, err := j.Read(context.Background(), at, bb.patterns, 500)
				if err != nil {
					b.Fatal(err)
				}
				read += len(evs)
				if at = upTo; at == j.Head() {
					at = zero
				}
			}
			b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
