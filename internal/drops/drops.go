// Package drops counts what is dropped, by reason, and says so in the log at a bounded rate.
package drops

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Interval is the least time between two log lines about one reason.
const Interval = 10 * time.Second

// Drops are the counters of one place where things are dropped. Its methods may be called from many goroutines.
type Drops struct {
	log    *slog.Logger
	source string

	mu      sync.Mutex
	reasons map[string]*counter
}

type counter struct {
	total  uint64
	untold uint64 // since the last line
	last   time.Time
	attrs  []any // of the last drop not told
}

// New returns counters whose log lines name source, such as "mediawiki-udp". A nil log is slog.Default().
func New(log *slog.Logger, source string) *Drops {
	if log == nil {
		log = slog.Default()
	}
	return &Drops{log: log, source: source, reasons: map[string]*counter{}}
}

// Add counts n drops for a reason, which is a constant of the caller and never taken from input. The first is logged at
// once with attrs, as slog takes them; later ones together, at most one line in Interval for each reason.
func (d *Drops) Add(reason string, n uint64, attrs ...any) {
	if n == 0 {
		return
	}
	d.mu.Lock()
	c := d.reasons[reason]
	if c == nil {
		c = new(counter)
		d.reasons[reason] = c
	}
	c.total += n
	c.untold += n
	c.attrs = attrs
	now := time.Now()
	var told counter
	if c.last.IsZero() || now.Sub(c.last) >= Interval {
		told = *c
		c.untold, c.last, c.attrs = 0, now, nil
	}
	d.mu.Unlock()
	d.tell(reason, told)
}

// tell writes the line for what has not been told; none if that is nothing.
func (d *Drops) tell(reason string, c counter) {
	if c.untold == 0 {
		return
	}
	args := append([]any{"source", d.source, "reason", reason, "count", c.untold, "total", c.total}, c.attrs...)
	d.log.Log(context.Background(), slog.LevelWarn, "dropped", args...)
}

// Flush logs what has been counted and not yet logged. Call it when no more will come.
func (d *Drops) Flush() {
	d.mu.Lock()
	told := map[string]counter{}
	for reason, c := range d.reasons {
		if c.untold > 0 {
			told[reason] = *c
			c.untold, c.last, c.attrs = 0, time.Now(), nil
		}
	}
	d.mu.Unlock()
	for _, reason := range slices.Sorted(maps.Keys(told)) {
		d.tell(reason, told[reason])
	}
}

// Snapshot returns the number of drops by reason; reasons without any are absent.
func (d *Drops) Snapshot() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := make(map[string]uint64, len(d.reasons))
	for reason, c := range d.reasons {
		s[reason] = c.total
	}
	return s
}
