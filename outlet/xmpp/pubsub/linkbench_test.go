package pubsub_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"testing"
	"time"

	"tidings"
	"tidings/access"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
	"tidings/outlet/xmpp/pubsub"
	model "tidings/pubsub"
	"tidings/xmpp/component"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
)

// countingHost takes one link and counts the messages on it.
func countingHost(b *testing.B) (addr string, messages <-chan int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	count := make(chan int, 1<<16)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		fmt.Fprintf(nc, "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' from='%s' id='1'>", linked)
		r := bufio.NewReaderSize(nc, 256<<10)
		for {
			b, err := r.ReadSlice('>') // every element ends with one
			if err != nil && err != bufio.ErrBufferFull {
				return
			}
			switch {
			case bytes.HasSuffix(b, []byte("</handshake>")):
				fmt.Fprint(nc, "<handshake/>")
			case bytes.HasSuffix(b, []byte("</message>")):
				count <- 1
			case bytes.HasPrefix(b, []byte("<iq ")):
				_, id, _ := bytes.Cut(b, []byte("id='"))
				id, _, _ = bytes.Cut(id, []byte("'"))
				fmt.Fprintf(nc, "<iq type='result' id='%s' from='%s' to='%s'/>", id, home, linked)
			}
		}
	}()
	return ln.Addr().String(), count
}

// BenchmarkLink opens a service behind a link with 100,000 stored subscriptions, and publishes to all of them: run it with
// -benchtime 10x. The memory is of everything: the model, the service and the link.
func BenchmarkLink(b *testing.B) {
	const subscriptions = 100_000
	for _, nodes := range []int{1, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			ctx := context.Background()
			must := func(err error) {
				b.Helper()
				if err != nil {
					b.Fatal(err)
				}
			}
			j := journal.NewMemory(journal.Options{})
			defer j.Close()
			bucket, err := j.Bucket(ctx, "nodes")
			must(err)
			for n := range nodes {
				// As package tidings/pubsub says that it is stored, in shards of 100.
				for shard := range subscriptions / nodes / 100 {
					v := fmt.Appendf(nil, "1 0 /bench/%d", n)
					for i := range 100 {
						v = fmt.Appendf(v, "\nuser-%d-%d-%d@%s\t%d\ts\t0\t\t\t%s", n, shard, i, home, 1+n+shard*1000+i*1_000_000, linked)
					}
					must(bucket.Put(ctx, fmt.Sprintf("s%d:/bench/%d", shard, n), v))
				}
			}
			tokens, err := j.Bucket(ctx, "tokens")
			must(err)
			policy, err := access.Open(ctx, tokens, access.Options{Log: slog.New(slog.DiscardHandler)})
			must(err)
			defer policy.Close()
			h := hub.New(j, policy, hub.Options{})
			defer h.Close()
			policy.OnChange(h.Recheck)
			e, err := edge.New(edge.Options{})
			must(err)
			addr, messages := countingHost(b)

			heap := func() uint64 {
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before, began := heap(), time.Now()
			m, err := model.Open(ctx, model.Options{Store: bucket, Log: j, Hub: h, Policy: policy})
			must(err)
			defer m.Close()
			var l *component.Link
			srv, err := pubsub.New(pubsub.Options{Model: m, Hub: h, Edge: e, May: policy.May, Audience: policy.Audience, Domain: linked,
				Link: &pubsub.Link{Peer: func(a jid.JID) service.Peer { return l.Peer(a, linked) }, AudienceOf: policy.AudienceOf, Host: home}})
			must(err)
			l, err = component.New(component.Options{Edge: e, Addr: addr, Domain: linked, Host: home, Secret: secret})
			must(err)
			must(l.Handle(linked, srv))
			srv.Resume(b.Context(), service.Mark{}, false)
			resumed := time.Since(began)
			running, cancel := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = l.Run(running)
			}()
			publish := func() {
				for n := range nodes {
					_, err := j.Append(ctx, tidings.Event{Topic: tidings.Topic(fmt.Sprintf("/bench/%d", n)), ContentType: "text/plain", Payload: make([]byte, 512)})
					must(err)
				}
				for range subscriptions {
					<-messages
				}
			}
			publish()
			ready := time.Since(began)
			after := heap()
			b.ResetTimer()
			for range b.N {
				publish()
			}
			b.StopTimer()
			b.ReportMetric(float64(after-before)/subscriptions, "B/subscription")
			b.ReportMetric(resumed.Seconds(), "s-to-resume")
			b.ReportMetric(ready.Seconds(), "s-to-first-delivery")
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/subscriptions, "ns/delivery")
			cancel()
			<-done
			srv.Close()
			if err := e.Shutdown(ctx); err != nil {
				b.Error(err)
			}
		})
	}
}
