//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"tidings/bench/internal/measure"
)

// Targets beside readers that never read.
const (
	maxSlowdown     = 2.0      // p99 of the normal readers, in times of that without the others
	maxStalledBytes = 64 << 20 // peak PSS of the server, above that without the others
)

// The load: each reader is sent more than the kernel buffers for one that does not read (tcp_wmem, mostly 4 MB), so that
// the server itself has to cope.
const (
	stalledReaders = 200
	stalledRate    = 50   // events a second
	stalledSize    = 8192 // bytes of an event
	stalledSeconds = 20
)

// stalled: 200 readers that never read, beside 200 that do.
func stalled(ctx context.Context, b *bench) error {
	seconds := stalledSeconds
	if b.quick {
		seconds = 2
	}
	// A slow fsync decides the 99th percentile of a run, with or without the others; so both are run in turn, and the
	// best of each counts, as in the fan-out. Memory is the worst of them.
	var found [2]measure.Result
	for round := range max(b.repeat, 1) {
		for i, n := range []int{0, stalledReaders} {
			t, err := b.own(ctx)
			if err != nil {
				return err
			}
			r, err := b.load(ctx, t, t.flags("-conns", "200", "-stalled", strconv.Itoa(n), "-rate", strconv.Itoa(stalledRate),
				"-pubconns", "8", "-size", strconv.Itoa(stalledSize), "-events", strconv.Itoa(stalledRate*seconds), "-samplepss")...)
			if err = errors.Join(err, t.stop()); err != nil {
				return err
			}
			peak := max(r.PSSPeak, found[i].PSSPeak)
			if round == 0 || r.P99 < found[i].P99 {
				found[i] = r
			}
			found[i].PSSPeak = peak
		}
	}
	without, with := found[0], found[1]
	b.add(row{what: "p99 of 200 readers, alone", server: "tidings", figure: fmt.Sprintf("%.2f ms", without.P99),
		more: fmt.Sprintf("p50 %.2f ms, %s/s, peak PSS %s", without.P50, count(without.PerSecond), size(float64(without.PSSPeak)))})
	latency := row{what: "beside 200 that never read", server: "tidings", figure: fmt.Sprintf("%.2f ms", with.P99),
		more: fmt.Sprintf("p50 %.2f ms, each was sent %s", with.P50, size(float64(with.Events*with.EventBytes)))}
	slower := with.P99 / max(without.P99, 0.001)
	latency.ratio = fmt.Sprintf("%.2f × alone", slower)
	grown := with.PSSPeak - without.PSSPeak
	memory := row{what: "peak PSS beside them", server: "tidings", figure: size(float64(with.PSSPeak)), ratio: "+ " + size(float64(grown))}
	if !b.quick {
		latency.target, latency.met = fmt.Sprintf("≤ %.0f × alone", maxSlowdown), slower <= maxSlowdown
		memory.target, memory.met = "≤ + "+size(maxStalledBytes), grown <= maxStalledBytes
	}
	b.add(latency)
	b.add(memory)
	return nil
}
