//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"tidings/bench/internal/measure"
)

// Targets of a server with many nodes.
const (
	maxNodesStart      = 5 * time.Second
	maxPerSubscription = 1 << 10 // bytes
	maxPublishGrowth   = 1.2     // of what an event costs, beside a server with few nodes
)

// The nodes of the two servers that are compared.
const (
	fewNodes  = 10
	manyNodes = 100_000
)

// A manner is how a server with nodes is started.
type manner struct {
	name  string // follows what is measured
	what  string
	start func(ctx context.Context, data string, nodes int) (t *target, ready time.Duration, more string, err error)
}

// nodes: the start, the memory and the publications of a server with many nodes, which have ten subscriptions each. The
// subscribers are addresses of other servers: without a component nothing is pushed to them, as to accounts that are away; as a
// component the server pushes to all of them.
func nodes(ctx context.Context, b *bench) error {
	if len(b.chosen("tidings")) == 0 {
		return errAbsent
	}
	dir, err := b.folder("nodes")
	if err != nil {
		return err
	}
	many := manyNodes
	if b.quick {
		many /= 100
	}
	sizes := []int{fewNodes, many}
	data := map[int]string{}
	began := time.Now()
	for _, n := range sizes {
		data[n] = filepath.Join(dir, strconv.Itoa(n), "data")
		if err := fillNodes(ctx, data[n], n, nodesDomain); err != nil {
			return err
		}
	}
	filled := fmt.Sprintf("filled in %v, %s on disk", time.Since(began).Round(time.Second), size(float64(diskUse(data[many]))))

	manners := []manner{{"", filled, b.startAlone}}
	if peers := b.chosen("ejabberd", "prosody"); len(peers) > 0 {
		s := peers[len(peers)-1]
		peer, err := s.start(ctx, b, b.program[s.name])
		if err != nil {
			return err
		}
		defer peer.stop()
		manners = append(manners, manner{" as a component", "of " + s.name, func(ctx context.Context, data string, nodes int) (*target, time.Duration, string, error) {
			return b.startPushing(ctx, peer, data, nodes)
		}})
	}
	for _, m := range manners {
		if err := b.startWithNodes(ctx, m, data, sizes); err != nil {
			return err
		}
	}
	return b.publishToNodes(ctx, data, sizes)
}

// startWithNodes measures the start and the memory of a server with many nodes, beside one with few.
func (b *bench) startWithNodes(ctx context.Context, m manner, data map[int]string, sizes []int) error {
	var took []time.Duration
	pss := map[int]int64{}
	few, many := sizes[0], sizes[1]
	said := ""
	for range b.repeat {
		for _, n := range sizes {
			t, d, more, err := m.start(ctx, data[n], n)
			if err != nil {
				return err
			}
			if n == many {
				took, said = append(took, d), more
			}
			time.Sleep(b.nodesSettle())
			if used := measure.PSS([]int{t.pid()}); pss[n] == 0 || used < pss[n] {
				pss[n] = used
			}
			if err := t.stop(); err != nil {
				return err
			}
		}
	}
	slices.Sort(took)
	what := fmt.Sprintf("%s nodes, %s subscriptions%s", count(float64(many)), count(float64(many*perNode)), m.name)
	b.judge(what+": start", took[len(took)/2], maxNodesStart, fmt.Sprintf("%s; median of %d, at most %v%s", m.what, len(took), took[len(took)-1].Round(time.Millisecond), said))
	each := float64(pss[many]-pss[few]) / float64((many-few)*perNode)
	r := row{what: what + ": memory", server: "tidings", figure: fmt.Sprintf("%.0f bytes a subscription", each),
		more: fmt.Sprintf("%s, with %d nodes %s; the nodes themselves are in it", size(float64(pss[many])), few, size(float64(pss[few])))}
	if !b.quick {
		r.target, r.met = "< "+size(maxPerSubscription), each < maxPerSubscription
	}
	b.add(r)
	return nil
}

// nodesSettle is the time for what the start has left behind to be given back.
func (b *bench) nodesSettle() time.Duration {
	if b.quick {
		return time.Second
	}
	return 10 * time.Second
}

// startAlone starts the server on data that fillNodes has made.
func (b *bench) startAlone(ctx context.Context, data string, nodes int) (*target, time.Duration, string, error) {
	t, err := serveTidings(ctx, b.program["tidings"], data, "fsync", "--xmpp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, "", err
	}
	took := time.Since(t.proc.began)
	var status struct {
		XMPP struct {
			PubSub struct{ Nodes, Subscriptions int }
		}
	}
	err = t.status(ctx, &status)
	if has := status.XMPP.PubSub; err == nil && (has.Nodes != nodes || has.Subscriptions != nodes*perNode) {
		err = fmt.Errorf("nodes: the server has %d nodes and %d subscriptions, want %d and %d", has.Nodes, has.Subscriptions, nodes, nodes*perNode)
	}
	if err != nil {
		return nil, 0, "", errors.Join(err, t.stop())
	}
	return t, took, "", nil
}

// startPushing is startAlone for a component, and returns when all subscriptions are being pushed.
func (b *bench) startPushing(ctx context.Context, peer *target, data string, nodes int) (*target, time.Duration, string, error) {
	flags, err := asComponent(peer, "", filepath.Dir(data))
	if err != nil {
		return nil, 0, "", err
	}
	t, err := serveTidings(ctx, b.program["tidings"], data, "fsync", flags...)
	if err != nil {
		return nil, 0, "", err
	}
	took := time.Since(t.proc.began)
	if err := t.pushes(ctx, nodes, nodes*perNode); err != nil {
		return nil, 0, "", errors.Join(err, t.stop())
	}
	return t, took, fmt.Sprintf("; all are pushed after %v", time.Since(t.proc.began).Round(100*time.Millisecond)), nil
}

// publishToNodes compares what an event costs that goes to one of ten nodes, where there are no others and where there are
// many. Each of the ten has ten sessions beside its subscribers who are away.
func (b *bench) publishToNodes(ctx context.Context, data map[int]string, sizes []int) error {
	events := strconv.Itoa(min(20_000, max(500, b.volume/30)))
	kept := map[int]measure.Result{}
	all := map[int]measure.Result{}
	for range b.repeat {
		for _, n := range sizes {
			t, _, _, err := b.startAlone(ctx, data[n], n)
			if err != nil {
				return err
			}
			publish := slices.Concat(t.xmpp, t.node, t.publishItems())
			r, err := b.load(ctx, t, append(publish, "-topics", strconv.Itoa(fewNodes), "-conns", strconv.Itoa(fewNodes*perNode), "-events", events, "-window", "8")...)
			if old, ok := kept[n]; err == nil && (!ok || r.CPUEvent < old.CPUEvent) {
				kept[n] = r
			}
			if err == nil {
				r, err = b.load(ctx, t, append(publish, "-topics", strconv.Itoa(n), "-conns", "0", "-events", strconv.Itoa(max(sizes[1], 1000)), "-window", "8")...)
				if old, ok := all[n]; err == nil && (!ok || r.CPUEvent < old.CPUEvent) {
					all[n] = r
				}
			}
			if err = errors.Join(err, t.stop()); err != nil {
				return err
			}
		}
	}
	for i, n := range sizes {
		r := row{what: fmt.Sprintf("publish to one of ten of %s nodes", count(float64(n))), server: "tidings", figure: fmt.Sprintf("%.0f µs an event", kept[n].CPUEvent),
			more: fmt.Sprintf("to 10 sessions, %s deliveries/s, p50 %.1f ms", count(kept[n].PerSecond), kept[n].P50)}
		if i > 0 {
			ratio := kept[n].CPUEvent / kept[sizes[0]].CPUEvent
			r.ratio = fmt.Sprintf("%.2f × the first", ratio)
			if !b.quick {
				r.target, r.met = fmt.Sprintf("≤ %.1f × the first", maxPublishGrowth), ratio <= maxPublishGrowth
			}
		}
		b.add(r)
	}
	for _, n := range sizes {
		b.add(row{what: fmt.Sprintf("publish to each of %s nodes in turn", count(float64(n))), server: "tidings", figure: fmt.Sprintf("%.0f µs an event", all[n].CPUEvent),
			ratio: fmt.Sprintf("%.2f × the first", all[n].CPUEvent/all[sizes[0]].CPUEvent),
			more:  fmt.Sprintf("to nobody who is there, %s acknowledged a second, p50 %.1f ms", count(all[n].AckPerS), all[n].P50)})
	}
	return nil
}
