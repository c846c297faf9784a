package mediawiki

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/source/mediawiki/intake"
)

// BenchmarkIngest sends 20,000 datagrams of 1 KB a second, in bursts of a millisecond, to a source whose journal takes
// 8 ms for a batch, and reports what was lost: the rest of the figures is the machine's. b.N is the number of datagrams.
func BenchmarkIngest(b *testing.B) {
	const perMillisecond = 20
	u := listen(b, Config{Append: func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
		time.Sleep(8 * time.Millisecond)
		return make([]tidings.Appended, len(events)), nil
	}})
	stop := run(b, u)
	c := dial(b, u, "")
	summary := strings.Repeat("a summary with some words, ", 31)
	b.ResetTimer()
	start := time.Now()
	for i := range b.N {
		if i%perMillisecond == 0 {
			if wait := time.Until(start.Add(time.Duration(i/perMillisecond) * time.Millisecond)); wait > 0 {
				time.Sleep(wait)
			}
		}
		send(b, c, fmt.Appendf(nil, `{"id":%d,"type":"edit","namespace":0,"title":"A page","comment":"%s","timestamp":1700000000,"user":"U","bot":false,"minor":false,"patrolled":true,"length":{"old":1,"new":2},"revision":{"old":1,"new":2},"server_url":"http://x.example","server_name":"x.example","server_script_path":"/w","wiki":"x"}`, i+1, summary))
	}
	rate := float64(b.N) / time.Since(start).Seconds()
	stop()
	got := u.Stats()
	if got.Received+got.KernelDrops != uint64(b.N) || got.Appended+got.Dropped[intake.QueueFull] != got.Received {
		b.Fatalf("what was sent is not accounted for: %+v", got)
	}
	b.ReportMetric(rate, "datagrams/s")
	b.ReportMetric(float64(uint64(b.N)-got.Appended), "lost")
	b.ReportMetric(float64(got.Bytes)/float64(got.Received), "bytes/datagram")
}
