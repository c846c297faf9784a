//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
)

// component: what servers of others deliver of a component's messages to their sessions, 32 events in flight.
func component(ctx context.Context, b *bench) error {
	n := b.small / 2
	kept := b.best(ctx, []string{"prosody", "ejabberd"}, faster, func(t *target) ([]string, error) {
		return append(append(append([]string(nil), t.xmpp...), t.component...),
			"-conns", strconv.Itoa(n), "-events", b.events(t, n, 32), "-window", "32"), nil
	})
	for _, s := range b.chosen("prosody", "ejabberd") {
		if r, ok := kept[s.name]; ok {
			b.add(row{what: fmt.Sprintf("plain messages to %d sessions", n), server: s.name, figure: count(r.PerSecond) + " deliveries/s",
				more: fmt.Sprintf("%d bytes on the wire, %.2f µs a delivery, p50 %.1f ms", r.WireBytes, r.CPUDelivery, r.P50)})
		}
	}
	return nil
}
