//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tidings/bench/internal/measure"
)

// Targets of the outlets beside SSE.
const (
	maxIRCOfRawfan  = 1.5 // a line is made for each channel, and the client is asked whether it is there
	maxOutletIdle   = 3 << 10
	maxIRCIdleBytes = 4 << 10
)

// An outlet is a protocol of this project's server beside SSE.
type outlet struct {
	// subscribe are the flags of loadgen.
	subscribe func(*target) []string
	// changes publishes MediaWiki changes over UDP, for protocols whose topics are wikis, instead of texts over HTTP.
	changes bool
	// prime has a change of the wiki in the journal before anybody subscribes.
	prime bool
	// probe is an address whose answer begins with greeting if the server has the outlet; "" if it always does.
	probe, greeting string

	ofRawfan, ofNchan float64 // targets; ofNchan 0: none
	idle              float64
}

// changeHost is the server_name of loadgen's wikis.
const changeHost = "w{n}.bench.example"

var (
	overWebSocket = outlet{ofRawfan: maxOfRawfan, ofNchan: minOfNchan, idle: maxOutletIdle,
		subscribe: func(t *target) []string {
			return []string{"-proto", "ws", "-addr", t.addr(), "-path", "/topics/bench/{n}", "-await", `"type":"subscribed"`}
		}}
	overSocketIO09 = outlet{ofRawfan: maxOfRawfan, ofNchan: minOfNchan, idle: maxOutletIdle, changes: true,
		subscribe: func(t *target) []string {
			return []string{"-proto", "sio09", "-addr", t.addr(), "-topic", changeHost}
		}}
	overSocketIO4 = outlet{ofRawfan: maxOfRawfan, ofNchan: minOfNchan, idle: maxOutletIdle,
		probe: "/socket.io/?EIO=4&transport=polling", greeting: `0{"sid":`,
		subscribe: func(t *target) []string {
			return []string{"-proto", "sio4", "-addr", t.addr(), "-topic", "/bench/{n}"}
		}}
	overIRC = outlet{ofRawfan: maxIRCOfRawfan, idle: maxIRCIdleBytes, changes: true, prime: true,
		subscribe: func(t *target) []string {
			return []string{"-proto", "irc", "-addr", t.irc, "-topic", "#" + changeHost}
		}}
)

// addr returns the address of the HTTP server.
func (t *target) addr() string { return strings.TrimPrefix(t.url, "http://") }

// bytesOfText is the size of an event's text where it is not a change.
const bytesOfText = 512

// size returns what -size of loadgen is.
func (o *outlet) size() int {
	if o.changes {
		return bytesOfChange
	}
	return bytesOfText
}

// publish returns the flags of loadgen for publishing.
func (o *outlet) publish(t *target) []string {
	if o.changes {
		return []string{"-pub", "udp", "-pubto", t.udp}
	}
	return t.publish
}

// use makes the server ready for subscribers and returns the flags of loadgen.
func (o *outlet) use(ctx context.Context, b *bench, t *target) ([]string, error) {
	flags := append(o.subscribe(t), "-size", strconv.Itoa(o.size()))
	if o.prime {
		before, err := t.dispatched(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := b.load(ctx, t, append(append(flags, o.publish(t)...), "-conns", "0", "-events", "1")...); err != nil {
			return nil, err
		}
		if err := t.dispatches(ctx, before+1); err != nil {
			return nil, err
		}
	}
	return append(flags, o.publish(t)...), nil
}

// dispatches waits until so many events have been dispatched: who subscribes then begins behind them.
func (t *target) dispatches(ctx context.Context, events int64) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		n, err := t.dispatched(ctx)
		if err != nil || n >= events {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d events have been dispatched and should %d: %w", n, events, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// dispatched returns how many events the server has given to its readers.
func (t *target) dispatched(ctx context.Context) (int64, error) {
	var status struct{ Hub struct{ Dispatched int64 } }
	err := t.status(ctx, &status)
	return status.Hub.Dispatched, err
}

// errUnserved says that the server has no such outlet.
var errUnserved = errors.New("this build of the server does not serve it")

// measure measures one protocol: a delivery with one event in flight beside one write of as many bytes by rawfan, 32 in
// flight beside nchan's WebSocket, and the memory of an idle subscriber.
func (o *outlet) measure(ctx context.Context, b *bench) error {
	wire, err := o.wireSize(ctx, b)
	if errors.Is(err, errUnserved) {
		b.add(row{what: "not measured", server: "tidings", more: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	o.one(ctx, b, wire)
	o.many(ctx, b)
	return o.memory(ctx, b)
}

// wireSize returns the bytes of a delivery on the wire, which a few events tell.
func (o *outlet) wireSize(ctx context.Context, b *bench) (wire int, err error) {
	list := b.chosen("tidings")
	if len(list) == 0 {
		return 0, errAbsent
	}
	err = b.with(ctx, list[0], func(t *target) error {
		if o.probe != "" {
			if body, err := t.get(ctx, o.probe); err != nil {
				return fmt.Errorf("%w: %w", errUnserved, err)
			} else if !strings.HasPrefix(string(body), o.greeting) {
				return fmt.Errorf("%w: GET %s: %.60q", errUnserved, o.probe, body)
			}
		}
		flags, err := o.use(ctx, b, t)
		if err != nil {
			return err
		}
		r, err := b.load(ctx, t, append(flags, "-conns", "10", "-events", "20")...)
		wire = r.WireBytes
		return err
	})
	return wire, err
}

// sizes are the numbers of subscribers with one event in flight.
func (b *bench) sizes() []int {
	if b.quick {
		return []int{b.small}
	}
	return []int{b.small, b.large}
}

// rivals returns the servers of a comparison; a quick run compares nothing.
func (b *bench) rivals(other string) []string {
	if b.quick {
		return []string{"tidings"}
	}
	return []string{other, "tidings"}
}

func (o *outlet) one(ctx context.Context, b *bench, wire int) {
	for _, n := range b.sizes() {
		kept := b.best(ctx, b.rivals("rawfan"), cheaper, func(t *target) ([]string, error) {
			more := []string{"-conns", strconv.Itoa(n), "-events", strconv.Itoa(max(5, b.volume/n)), "-window", "1"}
			if t.name == "rawfan" {
				return t.flags(append(more, "-size", strconv.Itoa(wire-len("\n")))...), nil
			}
			flags, err := o.use(ctx, b, t)
			return append(flags, more...), err
		})
		limit := kept["rawfan"].CPUDelivery
		for _, s := range b.chosen(b.rivals("rawfan")...) {
			r, ok := kept[s.name]
			if !ok {
				continue
			}
			row := row{what: fmt.Sprintf("%d subscribers, one in flight", n), server: s.name, figure: fmt.Sprintf("%.2f µs", r.CPUDelivery),
				more: fmt.Sprintf("%d bytes on the wire, %s deliveries/s, p50 %.1f ms", r.WireBytes, count(r.PerSecond), r.P50)}
			if limit > 0 {
				ratio := r.CPUDelivery / limit
				row.ratio = fmt.Sprintf("%.2f × rawfan", ratio)
				if s.name == "tidings" {
					row.target, row.met = fmt.Sprintf("≤ %.1f × rawfan", o.ofRawfan), ratio <= o.ofRawfan
				}
			}
			b.add(row)
		}
	}
}

func (o *outlet) many(ctx context.Context, b *bench) {
	kept := b.best(ctx, b.rivals("nchan"), faster, func(t *target) ([]string, error) {
		events := max(100, b.volume/b.small)
		more := []string{"-conns", strconv.Itoa(b.small), "-window", "32"}
		if t.name == "nchan" {
			more = append(more, "-size", strconv.Itoa(o.size()), "-events", strconv.Itoa(events))
			return append(append(append([]string(nil), t.webSocket...), t.publish...), more...), nil
		}
		flags, err := o.use(ctx, b, t)
		return append(append(flags, more...), "-events", strconv.Itoa(coalesced*events)), err
	})
	floor := kept["nchan"].PerSecond
	for _, s := range b.chosen(b.rivals("nchan")...) {
		r, ok := kept[s.name]
		if !ok {
			continue
		}
		row := row{what: fmt.Sprintf("%d subscribers, 32 in flight", b.small), server: s.name, figure: count(r.PerSecond) + " deliveries/s",
			more: fmt.Sprintf("%d bytes on the wire, %.2f µs a delivery, p50 %.1f ms", r.WireBytes, r.CPUDelivery, r.P50)}
		if floor > 0 {
			ratio := r.PerSecond / floor
			row.ratio = fmt.Sprintf("%.1f × nchan's WebSocket", ratio)
			if s.name == "tidings" && o.ofNchan > 0 {
				row.target, row.met = fmt.Sprintf("≥ %.0f × nchan's WebSocket", o.ofNchan), ratio >= o.ofNchan
			}
		}
		b.add(row)
	}
}

func (o *outlet) memory(ctx context.Context, b *bench) error {
	var r measure.Result
	err := b.with(ctx, b.chosen("tidings")[0], func(t *target) error {
		flags, err := o.use(ctx, b, t)
		if err != nil {
			return err
		}
		r, err = b.load(ctx, t, append(flags, "-memory", fmt.Sprintf("%d,%d", b.small, b.large), "-settle", b.idleSettle())...)
		return err
	})
	if err != nil {
		return err
	}
	row := row{what: fmt.Sprintf("%d to %d idle", b.small, b.large), server: "tidings", figure: size(r.PSSPerConn),
		more: fmt.Sprintf("%s at %d, connected in %.1f s", size(float64(r.PSS)), b.large, r.ConnectS)}
	if !b.quick {
		row.target, row.met = "≤ "+size(o.idle), r.PSSPerConn <= o.idle
	}
	b.add(row)
	return nil
}
