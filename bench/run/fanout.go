//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"

	"tidings/bench/internal/measure"
)

// everyone are the servers of the comparisons.
var everyone = []string{"rawfan", "tidings", "nchan", "mercure", "centrifugo"}

// best runs each server -repeat times, in turn so that a busy spell of the machine does not hit one alone, and keeps for
// each the run that better prefers.
func (b *bench) best(ctx context.Context, names []string, better func(a, than measure.Result) bool,
	flags func(*target) ([]string, error)) map[string]measure.Result {
	kept := map[string]measure.Result{}
	for i := range b.repeat {
		for _, s := range b.chosen(names...) {
			if ctx.Err() != nil {
				return kept
			}
			if i > 0 && s.once {
				continue
			}
			err := b.with(ctx, s, func(t *target) error {
				args, err := flags(t)
				if err != nil {
					return err
				}
				r, err := b.load(ctx, t, args...)
				if old, ok := kept[s.name]; err == nil && (!ok || better(r, old)) {
					kept[s.name] = r
				}
				return err
			})
			if err != nil {
				b.fail(err)
			}
		}
	}
	return kept
}

func cheaper(a, than measure.Result) bool { return a.CPUDelivery < than.CPUDelivery }
func faster(a, than measure.Result) bool  { return a.PerSecond > than.PerSecond }

// coalesced is how many times more events servers get that write several at once: they would be done before the clock of
// the kernel has moved enough.
const coalesced = 5

// Targets of the comparisons.
const (
	maxOfRawfan  = 1.2 // CPU per delivery, one in flight
	minOfNchan   = 5.0 // deliveries a second, 32 in flight
	maxIdleBytes = 2 << 10
)

// fanout: one event in flight. What it costs is one write per subscriber and what the server adds to it.
func fanout(ctx context.Context, b *bench) error {
	for _, n := range []int{b.small, b.large} {
		events := max(5, b.volume/n)
		kept := b.best(ctx, everyone, cheaper, func(t *target) ([]string, error) {
			return t.flags("-conns", strconv.Itoa(n), "-events", strconv.Itoa(events), "-window", "1"), nil
		})
		limit := kept["rawfan"].CPUDelivery
		for _, s := range b.chosen(everyone...) {
			r, ok := kept[s.name]
			if !ok {
				continue
			}
			row := row{what: fmt.Sprintf("%d subscribers", n), server: s.name, figure: fmt.Sprintf("%.2f µs", r.CPUDelivery),
				more: fmt.Sprintf("%s deliveries/s, p50 %.1f ms, p99 %.1f ms", count(r.PerSecond), r.P50, r.P99)}
			if limit > 0 {
				ratio := r.CPUDelivery / limit
				row.ratio = fmt.Sprintf("%.2f × rawfan", ratio)
				if s.name == "tidings" && !b.quick {
					row.target, row.met = fmt.Sprintf("≤ %.1f × rawfan", maxOfRawfan), ratio <= maxOfRawfan
				}
			}
			b.add(row)
		}
	}
	return nil
}

// window: 32 events in flight. A server that writes several events at once to a subscriber is far ahead.
func window(ctx context.Context, b *bench) error {
	kept := b.best(ctx, everyone, faster, func(t *target) ([]string, error) {
		events := max(100, b.volume/b.small)
		if t.name == "rawfan" || t.name == "tidings" {
			events *= coalesced
		}
		return t.flags("-conns", strconv.Itoa(b.small), "-events", strconv.Itoa(events), "-window", "32"), nil
	})
	floor := kept["nchan"].PerSecond
	for _, s := range b.chosen(everyone...) {
		r, ok := kept[s.name]
		if !ok {
			continue
		}
		row := row{what: fmt.Sprintf("%d subscribers", b.small), server: s.name, figure: count(r.PerSecond) + " deliveries/s",
			more: fmt.Sprintf("%.2f µs a delivery, p50 %.1f ms, p99 %.1f ms", r.CPUDelivery, r.P50, r.P99)}
		if floor > 0 {
			ratio := r.PerSecond / floor
			row.ratio = fmt.Sprintf("%.1f × nchan", ratio)
			if s.name == "tidings" && !b.quick {
				row.target, row.met = fmt.Sprintf("≥ %.0f × nchan", minOfNchan), ratio >= minOfNchan
			}
		}
		b.add(row)
	}
	return nil
}

// idleSettle is the time for what the handshakes have left behind to be collected.
func (b *bench) idleSettle() string {
	if b.quick {
		return "500ms"
	}
	return "5s"
}

// memory: the slope of the server's PSS between two numbers of idle subscribers.
func memory(ctx context.Context, b *bench) error {
	kept := map[string]measure.Result{}
	for _, s := range b.chosen(everyone...) {
		err := b.with(ctx, s, func(t *target) error {
			r, err := b.load(ctx, t, append(append([]string(nil), t.subscribe...),
				"-memory", fmt.Sprintf("%d,%d", b.small, b.large), "-settle", b.idleSettle())...)
			kept[s.name] = r
			return err
		})
		if err != nil {
			b.fail(err)
			delete(kept, s.name)
		}
	}
	for _, s := range b.chosen(everyone...) {
		r, ok := kept[s.name]
		if !ok {
			continue
		}
		row := row{what: fmt.Sprintf("%d to %d idle", b.small, b.large), server: s.name, figure: size(r.PSSPerConn),
			more: fmt.Sprintf("%s at %d, connected in %.1f s", size(float64(r.PSS)), b.large, r.ConnectS)}
		if nchan := kept["nchan"].PSSPerConn; nchan > 0 {
			row.ratio = fmt.Sprintf("%.2f × nchan", r.PSSPerConn/nchan)
		}
		if s.name == "tidings" && !b.quick {
			row.target, row.met = "≤ "+size(maxIdleBytes), r.PSSPerConn <= maxIdleBytes
		}
		b.add(row)
	}
	return nil
}
