//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings/bench/internal/measure"
)

// Targets of XMPP.
const (
	maxXMPPOfRawfan = 2.0 // CPU per delivery, one in flight
	minOfEjabberd   = 20.0
	maxXMPPIdle     = 6 << 10
	maxXMPPIdleTLS  = 24 << 10
	maxJoin         = 10 * time.Second // of all sessions
	maxJoinGrowth   = 1.5              // how much dearer a session may become by those before it
)

// Prosody goes through all occupants of a room for each that joins, and writes all subscriptions of a node for each that is
// added, which would make hours of ten thousand: it gets so many in one place, and its idle sessions are in several.
const (
	prosodyAtMost = 1000
	prosodyPlaces = 250
)

// peersShare is how many times fewer events the peers get: they need so much longer.
const peersShare = 6

// An assembly is how XMPP delivers one message to many sessions.
type assembly struct {
	one   string                   // of them
	place func(t *target) []string // flags of loadgen that say where sessions meet
	ways  []way                    // in which this project's server is published to
}

// A way is how events get to a server.
type way struct {
	name    string // "" for the server's first
	publish func(t *target, ctx context.Context) ([]string, error)
}

var (
	asTexts  = way{"", func(t *target, _ context.Context) ([]string, error) { return t.publish, nil }}
	asItems  = way{"", func(t *target, _ context.Context) ([]string, error) { return t.publishItems(), nil }}
	overXMPP = way{", published over XMPP", (*target).speak}

	inRooms = assembly{"room", func(t *target) []string { return t.room }, []way{asTexts}}
	onNodes = assembly{"node", func(t *target) []string { return t.node }, []way{asItems, overXMPP}}
)

// xmppServers are the servers that deliver over XMPP, in the order in which one is asked for the bytes of a delivery.
var xmppServers = []string{"tidings", "ejabberd", "prosody"}

// measure measures what fanout, window and memory do, and how long it takes to get all sessions in. Rawfan pushes as many
// bytes a delivery as this project's server.
func (a *assembly) measure(ctx context.Context, b *bench) error {
	b.xmpp = true
	defer func() { b.xmpp = false }()
	wire, err := a.wireSize(ctx, b)
	if errors.Is(err, errUnserved) {
		b.add(row{what: "not measured", server: "tidings", more: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	few, many := b.small/2, b.large*2/3 // 1,000 and 10,000
	for _, n := range b.upTo(few, many) {
		limit := 0.0
		for _, w := range a.ways {
			limit = a.oneInFlight(ctx, b, n, wire, w, limit)
		}
	}
	for _, n := range b.upTo(few, many) {
		floor := 0.0
		for _, w := range a.ways {
			floor = a.window(ctx, b, n, w, floor)
		}
	}
	a.idle(ctx, b, few, many, false)
	a.idle(ctx, b, few, many, true)
	return nil
}

// upTo returns the sizes of a run, of which a quick one has the smaller only.
func (b *bench) upTo(few, many int) []int {
	if b.quick {
		return []int{few}
	}
	return []int{few, many}
}

// use makes the server ready for subscribers on so many topics, by an event on each, and returns the flags of loadgen.
func (a *assembly) use(ctx context.Context, b *bench, t *target, topics int, w way) ([]string, error) {
	publish, err := w.publish(t, ctx)
	if err != nil {
		return nil, err
	}
	flags := slices.Concat(t.xmpp, a.place(t), publish, []string{"-topics", strconv.Itoa(topics)})
	_, err = b.load(ctx, t, append(flags, "-conns", "0", "-events", strconv.Itoa(topics))...)
	return flags, err
}

func (a *assembly) wireSize(ctx context.Context, b *bench) (wire int, err error) {
	for _, name := range xmppServers {
		for _, s := range b.chosen(name) {
			err = b.with(ctx, s, func(t *target) error {
				if len(t.xmpp) == 0 {
					return errUnserved
				}
				flags, err := a.use(ctx, b, t, 1, a.ways[0])
				if err != nil {
					return err
				}
				r, err := b.load(ctx, t, append(flags, "-conns", "10", "-events", "20")...)
				wire = r.WireBytes
				if err != nil && strings.Contains(err.Error(), "<remote-server-not-found") { // what it says of domains that it does not serve
					return fmt.Errorf("%w: no %s", errUnserved, a.one)
				}
				return err
			})
			return wire, err
		}
	}
	return 0, errors.New("all servers that speak XMPP are left out")
}

// able returns the servers among names that can have n sessions in one place.
func able(n int, names ...string) []string {
	return slices.DeleteFunc(names, func(s string) bool { return s == "prosody" && n > prosodyAtMost })
}

// events returns how many events a run has with so many in flight.
func (b *bench) events(t *target, sessions, window int) string {
	volume := b.volume
	switch {
	case t.peer != nil:
		volume /= peersShare
	case window > 1:
		volume *= coalesced
	}
	return strconv.Itoa(max(5, 2*window, volume/sessions))
}

// oneInFlight returns the cost of rawfan, which is measured with the first way.
func (a *assembly) oneInFlight(ctx context.Context, b *bench, n, wire int, w way, limit float64) float64 {
	names := able(n, "rawfan", "tidings", "prosody", "ejabberd")
	if w.name != "" {
		names = []string{"tidings"}
	}
	kept := b.best(ctx, names, cheaper, func(t *target) ([]string, error) {
		more := []string{"-conns", strconv.Itoa(n), "-events", b.events(t, n, 1), "-window", "1"}
		if t.name == "rawfan" {
			return t.flags(append(more, "-size", strconv.Itoa(wire-len("\n")))...), nil
		}
		flags, err := a.use(ctx, b, t, 1, w)
		return append(flags, more...), err
	})
	if r, ok := kept["rawfan"]; ok {
		limit = r.CPUDelivery
	}
	for _, s := range b.chosen(names...) {
		r, ok := kept[s.name]
		if !ok {
			continue
		}
		row := row{what: fmt.Sprintf("%d sessions, one in flight%s", n, w.name), server: s.name, figure: fmt.Sprintf("%.2f µs", r.CPUDelivery),
			more: fmt.Sprintf("%d bytes on the wire, %s deliveries/s, p50 %.1f ms", r.WireBytes, count(r.PerSecond), r.P50)}
		if limit > 0 {
			ratio := r.CPUDelivery / limit
			row.ratio = fmt.Sprintf("%.2f × rawfan", ratio)
			if s.name == "tidings" && !b.quick {
				row.target, row.met = fmt.Sprintf("≤ %.0f × rawfan", maxXMPPOfRawfan), ratio <= maxXMPPOfRawfan
			}
		}
		b.add(row)
	}
	return limit
}

// window returns ejabberd's deliveries a second, which are measured with the first way.
func (a *assembly) window(ctx context.Context, b *bench, n int, w way, floor float64) float64 {
	names := able(n, "tidings", "prosody", "ejabberd")
	if w.name != "" {
		names = []string{"tidings"}
	}
	kept := b.best(ctx, names, faster, func(t *target) ([]string, error) {
		flags, err := a.use(ctx, b, t, 1, w)
		if t.name == "tidings" { // which acknowledges each when it is on the disk, and the next of a connection after it
			flags = append(flags, "-pubconns", "32")
		}
		return append(flags, "-conns", strconv.Itoa(n), "-events", b.events(t, n, 32), "-window", "32"), err
	})
	if r, ok := kept["ejabberd"]; ok {
		floor = r.PerSecond
	}
	for _, s := range b.chosen(names...) {
		r, ok := kept[s.name]
		if !ok {
			continue
		}
		row := row{what: fmt.Sprintf("%d sessions, 32 in flight%s", n, w.name), server: s.name, figure: count(r.PerSecond) + " deliveries/s",
			more: fmt.Sprintf("%d bytes on the wire, %.2f µs a delivery, p50 %.1f ms", r.WireBytes, r.CPUDelivery, r.P50)}
		if floor > 0 {
			ratio := r.PerSecond / floor
			row.ratio = fmt.Sprintf("%.1f × ejabberd", ratio)
			if s.name == "tidings" && !b.quick {
				row.target, row.met = fmt.Sprintf("≥ %.0f × ejabberd", minOfEjabberd), ratio >= minOfEjabberd
			}
		}
		b.add(row)
	}
	return floor
}

// idle measures the memory of a session that has nothing to do, and how long it took to get them all in.
func (a *assembly) idle(ctx context.Context, b *bench, few, many int, tls bool) {
	kept := map[string]measure.Result{}
	names := []string{"tidings", "prosody", "ejabberd"}
	for _, s := range b.chosen(names...) {
		err := b.with(ctx, s, func(t *target) error {
			flags, err := a.use(ctx, b, t, spread(s.name), a.ways[0])
			if err != nil {
				return err
			}
			if tls {
				flags = append(flags, "-tls")
			}
			r, err := b.load(ctx, t, append(flags, "-memory", fmt.Sprintf("%d,%d", few, many), "-settle", b.idleSettle())...)
			if err == nil {
				kept[s.name] = r
			}
			return err
		})
		if err != nil {
			b.fail(err)
		}
	}
	over, limit := "", float64(maxXMPPIdle)
	if tls {
		over, limit = " over TLS", maxXMPPIdleTLS
	}
	for _, s := range b.chosen(names...) {
		r, ok := kept[s.name]
		if !ok {
			continue
		}
		row := row{what: fmt.Sprintf("%d to %d idle%s", few, many, over), server: s.name, figure: size(r.PSSPerConn),
			more: fmt.Sprintf("%s at %d, %s", size(float64(r.PSS)), many, a.where(s.name))}
		if s.name == "tidings" && !b.quick {
			row.target, row.met = "≤ "+size(limit), r.PSSPerConn <= limit
		}
		b.add(row)
	}
	for _, s := range b.chosen(names...) {
		if r, ok := kept[s.name]; ok {
			b.add(a.entered(s.name, few, many, over, r, !b.quick))
		}
	}
}

// spread returns the number of places that idle sessions of a server are in.
func spread(server string) int {
	if server == "prosody" {
		return prosodyPlaces
	}
	return 1
}

func (a *assembly) where(server string) string {
	if n := spread(server); n > 1 {
		return fmt.Sprintf("in %d %ss", n, a.one)
	}
	return "in one " + a.one
}

// entered tells how long it took to log all sessions in and to join them or to subscribe.
func (a *assembly) entered(server string, few, many int, over string, r measure.Result, judge bool) row {
	first, rest := r.ConnectSteps[0]/float64(few), r.ConnectSteps[1]/float64(many-few)
	growth := rest / first
	row := row{what: fmt.Sprintf("%d log in%s and enter", many, over), server: server, figure: fmt.Sprintf("%.1f s", r.ConnectS),
		ratio: fmt.Sprintf("%.2f × the first", growth),
		more:  fmt.Sprintf("%.2f ms each of the first %d, %.2f ms after them; %s", first*1e3, few, rest*1e3, a.where(server))}
	if server == "tidings" && over == "" && judge {
		row.target = fmt.Sprintf("< %.0f s, ≤ %.1f × the first", maxJoin.Seconds(), maxJoinGrowth)
		row.met = r.ConnectS < maxJoin.Seconds() && growth <= maxJoinGrowth
	}
	return row
}
