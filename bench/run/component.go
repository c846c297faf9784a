//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"tidings/bench/internal/measure"
	"tidings/interop/xmpppeer"
)

// minOfPlain is the part of the deliveries a second of plain messages that a node behind the same server has to reach.
const minOfPlain = 0.9

// The components of the peers, and their secret: the one that loadgen is, and the one that this project's server is.
const (
	plainDomain     = "bench.localhost"
	nodesDomain     = "nodes.localhost"
	senderDomain    = "out.localhost"
	componentSecret = "of this benchmark only"
)

// What doc/component.md has for the one peer and the other: ejabberd has a process for each connection, and Prosody one for all,
// which reads a message for many once.
const (
	sendersLine   = `senders = ["` + senderDomain + `"]`
	multicastLine = "multicast = true"
)

// A part is what a component has a server of others deliver.
type part struct {
	what string
	of   string // the peer that has it; empty: each
	run  func(ctx context.Context, b *bench, t *target, more []string) (measure.Result, error)
}

func (p *part) isOf(peer string) bool { return p.of == "" || p.of == peer }

// The parts: of loadgen as a component, which has nothing else to do than to send; of loadgen as a client, which is whose plain messages
// the server is there for; and of this project's server, of which the sessions have subscribed to a node.
var (
	plainPart = part{"plain messages of a component", "", func(ctx context.Context, b *bench, t *target, more []string) (measure.Result, error) {
		return b.load(ctx, t, slices.Concat(t.xmpp, t.component, more)...)
	}}
	clientPart = part{"plain messages of a client", "", func(ctx context.Context, b *bench, t *target, more []string) (measure.Result, error) {
		return b.load(ctx, t, slices.Concat(t.xmpp, t.publish, []string{"-pub", "client"}, more)...)
	}}
	noticePart = part{"notifications", "", func(ctx context.Context, b *bench, t *target, more []string) (measure.Result, error) {
		return b.load(ctx, t, slices.Concat(t.xmpp, t.component, []string{"-node", "/bench/{n}"}, more)...)
	}}
	nodePart = part{"a node of tidings", "", func(ctx context.Context, b *bench, t *target, more []string) (measure.Result, error) {
		return b.behind(ctx, t, "", more)
	}}
	// Several items in one notification (pubsub#digest), for sessions that have asked for it.
	digestPart = part{"a node of tidings in digests", "", func(ctx context.Context, b *bench, t *target, more []string) (measure.Result, error) {
		return b.behind(ctx, t, "", append([]string{"-digest"}, more...))
	}}
	sharedPart = part{"a node of tidings with a sender", "ejabberd", func(ctx context.Context, b *bench, t *target, more []string) (measure.Result, error) {
		return b.behind(ctx, t, sendersLine, more)
	}}
	multicastPart = part{"a node of tidings with multicast", "prosody", func(ctx context.Context, b *bench, t *target, more []string) (measure.Result, error) {
		return b.behind(ctx, t, multicastLine, more)
	}}
)

// component: what servers of others deliver of a component's messages to the bare JIDs of their sessions, 32 events in flight.
func component(ctx context.Context, b *bench) error {
	n := b.small / 2
	parts := []part{plainPart, clientPart, noticePart}
	if len(b.chosen("tidings")) > 0 {
		parts = append(parts, nodePart, digestPart, sharedPart, multicastPart)
	}
	kept := map[string]measure.Result{}
	peers := b.chosen("prosody", "ejabberd")
	for range b.repeat { // in turn, as best does
		for _, s := range peers {
			for _, p := range parts {
				if !p.isOf(s.name) {
					continue
				}
				if ctx.Err() != nil {
					return nil
				}
				err := b.with(ctx, s, func(t *target) error {
					r, err := p.run(ctx, b, t, []string{"-bare", "-conns", strconv.Itoa(n), "-events", b.events(t, n, 32), "-window", "32"})
					if old, ok := kept[s.name+p.what]; err == nil && (!ok || faster(r, old)) {
						kept[s.name+p.what] = r
					}
					return err
				})
				if err != nil {
					b.fail(err)
				}
			}
		}
	}
	for _, s := range peers {
		of := func(p part) float64 { return kept[s.name+p.what].PerSecond }
		for _, p := range parts {
			if r, ok := kept[s.name+p.what]; ok {
				judged := !b.quick && (p.of != "" || p.what == digestPart.what)
				b.add(deliveredBy(s.name, p.what, n, r, max(of(plainPart), of(clientPart)), of(noticePart), judged))
			}
		}
	}
	return nil
}

// deliveredBy is the row of a part. plain and notices are the deliveries a second of those messages, 0 where they were not measured.
func deliveredBy(server, what string, n int, r measure.Result, plain, notices float64, judged bool) row {
	row := row{what: fmt.Sprintf("%s to %d sessions", what, n), server: server, figure: count(r.PerSecond) + " deliveries/s",
		more: fmt.Sprintf("%d bytes on the wire, %.2f µs a delivery, p50 %.1f ms", r.WireBytes, r.CPUDelivery, r.P50)}
	if plain > 0 {
		row.ratio = fmt.Sprintf("%.2f × plain", r.PerSecond/plain)
	}
	if notices > 0 {
		row.more += fmt.Sprintf("; %.2f × notifications", r.PerSecond/notices)
	}
	if judged && plain > 0 {
		row.target, row.met = fmt.Sprintf("≥ %.1f × plain", minOfPlain), r.PerSecond >= minOfPlain*plain
	}
	return row
}

// behind has this project's server deliver through a peer. What both servers cost is counted together.
func (b *bench) behind(ctx context.Context, peer *target, link string, more []string) (r measure.Result, err error) {
	t, err := b.startBehind(ctx, peer, link)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	flags := slices.Concat(peer.xmpp, []string{"-topic", nodesDomain, "-node", "/bench/{n}"}, t.publishItems())
	if _, err = b.load(ctx, t, append(flags, "-conns", "0", "-events", "1")...); err != nil { // so that there is the node
		return r, err
	}
	return b.load(ctx, t, slices.Concat(flags, more, []string{"-pid", fmt.Sprintf("%d,%d", peer.pid(), t.pid())})...)
}

// behindConfig has this project's server be a component of another, and serve XMPP in no other way.
const behindConfig = `[xmpp]
addr = "off"
websocket = false

[[component]]
addr = %q
domain = %q
serves = "pubsub"
secret = %q
%s
`

// asComponent returns the flags of a server that is a component of a peer. Its configuration, in which link is a key of the
// component or nothing, is written into dir.
func asComponent(peer *target, link, dir string) ([]string, error) {
	file := filepath.Join(dir, "component.toml")
	return []string{"--config", file}, os.WriteFile(file, fmt.Appendf(nil, behindConfig, peer.peer.Component, nodesDomain, componentSecret, link), 0o600)
}

// startBehind starts this project's server as a component of a peer, and waits until the peer has taken it.
func (b *bench) startBehind(ctx context.Context, peer *target, link string) (*target, error) {
	dir, err := b.folder("tidings")
	if err != nil {
		return nil, err
	}
	flags, err := asComponent(peer, link, dir)
	if err != nil {
		return nil, err
	}
	t, err := serveTidings(ctx, b.program["tidings"], filepath.Join(dir, "data"), "fsync", flags...)
	if err != nil {
		return nil, err
	}
	if err := t.pushes(ctx, 0, 0); err != nil {
		return nil, errors.Join(err, t.stop())
	}
	return t, nil
}

// pushes waits until the server is connected to the one that it is a component of, and pushes so many nodes to so many
// subscribers.
func (t *target) pushes(ctx context.Context, nodes, subscriptions int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var status struct {
			XMPP struct {
				Components []struct {
					Connected      bool
					Flows, Sources int
				}
			}
		}
		if err := t.status(ctx, &status); err != nil {
			return err
		}
		if c := status.XMPP.Components; len(c) == 1 && c[0].Connected && c[0].Sources == nodes && c[0].Flows == subscriptions {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the component is not where it should be: %+v: %w", status.XMPP.Components, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// status reads what the server says of itself.
func (t *target) status(ctx context.Context, into any) error {
	body, err := t.get(ctx, "/status")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return nil
}

// componentsOf are the components that a peer knows.
var componentsOf = map[string]string{plainDomain: componentSecret, nodesDomain: componentSecret, senderDomain: componentSecret}

// plainFlags are those of loadgen as a component of a peer.
func plainFlags(s *xmpppeer.Server) []string {
	return []string{"-pub", "component", "-pubto", s.Component, "-pubjid", plainDomain, "-pubpassword", componentSecret}
}
