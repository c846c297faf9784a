package drops

import (
	"bytes"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		text := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
		d := New(slog.New(text), "udp")
		expect := func(want ...string) {
			t.Helper()
			got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if len(want) == 0 {
				want = []string{""}
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got %q, want %q", got, want)
			}
			out.Reset()
		}
		d.Add("malformed", 1, "from", "a")
		expect(`level=WARN msg=dropped source=udp reason=malformed count=1 total=1 from=a`)
		d.Add("malformed", 2, "from", "b")
		d.Add("malformed", 0)
		d.Add("empty", 1)
		expect(`level=WARN msg=dropped source=udp reason=empty count=1 total=1`)
		time.Sleep(Interval - time.Nanosecond)
		d.Add("malformed", 1, "from", "c")
		expect()
		time.Sleep(time.Nanosecond)
		d.Add("malformed", 1, "from", "d")
		expect(`level=WARN msg=dropped source=udp reason=malformed count=4 total=5 from=d`)
		d.Add("malformed", 3, "from", "e")
		d.Add("empty", 1)
		d.Add("empty", 1)
		out.Reset()
		d.Flush()
		expect(`level=WARN msg=dropped source=udp reason=empty count=1 total=3`, `level=WARN msg=dropped source=udp reason=malformed count=3 total=8 from=e`)
		d.Flush()
		expect()
		if got, want := d.Snapshot(), map[string]uint64{"malformed": 8, "empty": 3}; !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestDropsFromManyGoroutines(t *testing.T) {
	d := New(slog.New(slog.DiscardHandler), "x")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				d.Add("r", 1)
				d.Snapshot()
			}
		})
	}
	all.Wait()
	if got := d.Snapshot()["r"]; got != 8000 {
		t.Errorf("got %d", got)
	}
}
