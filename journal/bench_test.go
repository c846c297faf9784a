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
