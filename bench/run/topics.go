//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// maxGrowth is what an event to ten subscribers may cost with many topics and subscribers beside it, in times of the
// cost with few. The kernel itself needs somewhat more for a write when the sockets in use lie far apart in memory.
const maxGrowth = 1.5

// topics: an event that matches ten subscribers, with more and more topics and subscribers that it does not match.
func topics(ctx context.Context, b *bench) error {
	const match = 10
	many := b.large * 2 / 3 // 10,000 of 15,000
	cases := []struct {
		what                      string
		conns, topics, bystanders int
	}{
		{fmt.Sprintf("%d on 10 topics", match*10), match * 10, 10, 0}, // what the others are compared with
		{fmt.Sprintf("%d on 100 topics", match*100), match * 100, 100, 0},
		{fmt.Sprintf("%d on %d topics", many, many/match), many, many / match, 0},
		{fmt.Sprintf("%d on 10 topics beside %d others", match*10, many-match*10), match * 10, 10, many - match*10},
		{fmt.Sprintf("%d on 10 topics", many), many, 10, 0},
		{fmt.Sprintf("%d on %d topics", many/match, many/match), many / match, many / match, 0},
	}
	var base float64
	for i, c := range cases {
		t, err := b.own(ctx)
		if err != nil {
			return err
		}
		perEvent := c.conns / c.topics
		events := min(5000, max(100, b.volume/perEvent))
		r, err := b.load(ctx, t, t.flags("-conns", strconv.Itoa(c.conns), "-topics", strconv.Itoa(c.topics), "-bystanders",
			strconv.Itoa(c.bystanders), "-events", strconv.Itoa(events), "-window", "8")...)
		if err = errors.Join(err, t.stop()); err != nil {
			return err
		}
		row := row{what: c.what, server: "tidings", figure: fmt.Sprintf("%.0f µs an event", r.CPUEvent),
			more: fmt.Sprintf("%d receive it, %.1f µs a delivery, p50 %.1f ms", perEvent, r.CPUDelivery, r.P50)}
		if i == 0 {
			base = r.CPUEvent
		} else if perEvent == match && base > 0 {
			ratio := r.CPUEvent / base
			row.ratio = fmt.Sprintf("%.2f × the first", ratio)
			if !b.quick {
				row.target, row.met = fmt.Sprintf("≤ %.1f × the first", maxGrowth), ratio <= maxGrowth
			}
		}
		b.add(row)
	}
	return nil
}
