//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tidings/bench/internal/measure"
)

// stalledBuffer is the receive buffer of a subscriber that never reads, small so that the server soon feels it.
const stalledBuffer = 4096

// open connects subscribers from up to to (not included) and returns them in order.
func (crowd *crowd) open(o *options, from, to, rcvbuf int, topic func(i int) int) ([]*subscriber, error) {
	p, err := newProtocol(o)
	if err != nil {
		return nil, err
	}
	other := p
	if o.otherPath != "" {
		second := *o
		second.path = o.otherPath
		if other, err = newProtocol(&second); err != nil {
			return nil, err
		}
	}
	subs := make([]*subscriber, to-from)
	var next atomic.Int64
	var wg sync.WaitGroup
	fails := make([]error, o.parallel)
	for w := range o.parallel {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(subs) {
					return
				}
				c, err := dial(o.server, from+i, o.sources, rcvbuf)
				if err == nil {
					crowd.opened(c.fd)
					sub := &subscriber{conversation: c, topic: topic(from + i)}
					if sub.topic < 0 {
						err = other.subscribe(c, sub.topic)
					} else {
						err = p.subscribe(c, sub.topic)
					}
					subs[i] = sub
				}
				if err != nil {
					fails[w] = fmt.Errorf("subscriber %d: %w", from+i, err)
					return
				}
				crowd.subscribed(c)
			}
		})
	}
	wg.Wait()
	return subs, errors.Join(fails...)
}

// memory reads the server's memory at two numbers of subscribers; the slope between them is what one costs.
func memory(o *options) (measure.Result, error) {
	r := measure.Result{Label: o.label, Protocol: o.proto, Topics: o.topics}
	all, err := gather(o, beatEvery)
	if err != nil {
		return r, err
	}
	defer all.disperse()
	var pss [2]int64
	from := 0
	for step, n := range o.memory { // both steps stay connected until the function returns
		start := time.Now()
		if _, err := all.open(o, from, n, 0, func(i int) int { return i % o.topics }); err != nil {
			return r, err
		}
		r.ConnectSteps = append(r.ConnectSteps, time.Since(start).Seconds())
		r.ConnectS += time.Since(start).Seconds()
		time.Sleep(o.settle)
		pss[step], from = measure.PSS(o.pids), n
	}
	r.Subscribers, r.PSS = from, pss[1]
	r.PSSPerConn = float64(pss[1]-pss[0]) / float64(o.memory[1]-o.memory[0])
	return r, nil
}

// deliver opens the subscribers, publishes, and waits until everything has arrived or nothing does any more.
func deliver(o *options) (measure.Result, error) {
	r := measure.Result{Label: o.label, Protocol: o.proto, Subscribers: o.conns, Bystanders: o.bystanders, Stalled: o.stalled,
		Topics: o.topics, EventBytes: o.size, Rate: o.rate}
	if o.rate == 0 {
		r.Window = o.window
	}
	start := time.Now()
	all, err := gather(o, beatEvery)
	if err != nil {
		return r, err
	}
	defer all.disperse()
	subs, err := all.open(o, 0, o.conns+o.bystanders, 0, func(i int) int {
		if i >= o.conns {
			return -1
		}
		return i % o.topics
	})
	if err != nil {
		return r, err
	}
	first := o.conns + o.bystanders
	if _, err := all.open(o, first, first+o.stalled, stalledBuffer, func(i int) int { return i % o.topics }); err != nil {
		return r, err
	}
	r.ConnectS = time.Since(start).Seconds()
	time.Sleep(o.settle)
	if len(o.pids) > 0 {
		r.PSS = measure.PSS(o.pids)
	}
	snk, err := newSink(subs, o.events)
	if err != nil {
		return r, err
	}
	defer snk.close()
	drops, err := dropCounter(o)
	if err != nil {
		return r, err
	}
	pubs := make([]publisher, o.pubConns)
	for i := range pubs {
		if pubs[i], err = newPublisher(o); err != nil {
			return r, err
		}
	}

	dropsBefore, err := drops()
	if err != nil {
		return r, err
	}
	l := newLoop(o, snk)
	read := make(chan error, 1)
	go func() { read <- snk.run() }()
	peak := sampler(o)
	serverBefore, ownBefore := measure.CPU(o.pids), ownCPU()
	begin := time.Now()
	acks := l.run(begin, pubs)
	server, own := measure.CPU(o.pids)-serverBefore, ownCPU()-ownBefore
	r.PSSPeak = peak()
	if err := errors.Join(snk.stop(), <-read); err != nil {
		return r, err
	}
	for _, p := range pubs {
		if err := p.Close(); err != nil {
			return r, err
		}
	}
	if r.UDPDrops, err = drops(); err != nil {
		return r, err
	}
	r.UDPDrops -= dropsBefore
	l.account(&r, begin, acks, server, own)
	return r, nil
}

// dropCounter returns a function that reads how many datagrams the kernel has dropped at the server's UDP socket.
func dropCounter(o *options) (func() (int64, error), error) {
	if o.pub != "udp" {
		return func() (int64, error) { return 0, nil }, nil
	}
	addr, err := netip.ParseAddrPort(o.pubTo)
	if err != nil {
		return nil, fmt.Errorf("-pubto: %w", err)
	}
	return func() (int64, error) { return measure.UDPDrops(addr) }, nil
}

// sampler watches the server's memory four times a second; the function it returns ends that and gives the peak.
func sampler(o *options) func() int64 {
	if !o.samplePSS {
		return func() int64 { return 0 }
	}
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		t := time.NewTicker(250 * time.Millisecond)
		defer t.Stop()
		var most int64
		for {
			select {
			case <-t.C:
				most = max(most, measure.PSS(o.pids))
			case <-stop:
				peak <- max(most, measure.PSS(o.pids))
				return
			}
		}
	}()
	return func() int64 { close(stop); return <-peak }
}
