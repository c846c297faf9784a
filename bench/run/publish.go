//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// Targets of publishing over HTTP with fsync.
const (
	minAcknowledged = 10_000.0 // a second, 64 publishers
	maxLatencyMS    = 5.0      // publish to subscriber at the median, one publisher
)

// publish: what durability costs a publisher, and a subscriber's wait.
func publish(ctx context.Context, b *bench) error {
	t, err := b.own(ctx)
	if err != nil {
		return err
	}
	return errors.Join(b.publish(ctx, t), t.stop())
}

func (b *bench) publish(ctx context.Context, t *target) error {
	events := max(2000, b.volume/6)
	r, err := b.load(ctx, t, t.flags("-conns", "0", "-topics", "16", "-events", strconv.Itoa(events), "-window", "64")...)
	if err != nil {
		return err
	}
	many := row{what: "64 publishers", server: "tidings", figure: count(r.AckPerS) + " acknowledged/s",
		more: fmt.Sprintf("acknowledged after p50 %.1f ms, p99 %.1f ms; server used %.2f cores", r.P50, r.P99, r.CPUShare)}
	if !b.quick {
		many.target, many.met = "≥ "+count(minAcknowledged)+"/s", r.AckPerS >= minAcknowledged
	}
	b.add(many)

	// A topic of its own: the subscriber is the only one to be served.
	r, err = b.load(ctx, t, t.flags("-conns", "1", "-events", strconv.Itoa(max(200, b.volume/200)), "-window", "1")...)
	if err != nil {
		return err
	}
	one := row{what: "1 publisher to 1 subscriber", server: "tidings", figure: fmt.Sprintf("p50 %.2f ms", r.P50),
		more: fmt.Sprintf("p99 %.2f ms, at most %.1f ms, %.0f µs of CPU an event", r.P99, r.Max, r.CPUEvent)}
	if !b.quick {
		one.target, one.met = fmt.Sprintf("p50 < %.0f ms", maxLatencyMS), r.P50 < maxLatencyMS
	}
	b.add(one)
	return nil
}
