package component

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// drain reads whatever comes, and answers the pings in it. It finds them by their bytes, as it must not cost more than what is
// measured, and only where they are the end of what has come: a ping is the last of a piece.
func (s *server) drain() {
	buf, kept := make([]byte, 256<<10), 0
	s.nc.SetReadDeadline(time.Time{})
	for {
		n, err := s.nc.Read(buf[kept:])
		if err != nil {
			return
		}
		n += kept
		at := max(0, n-pingLength)
		if i := bytes.Index(buf[at:n], pingMark); i >= 0 {
			a := bytes.LastIndex(buf[:at+i], []byte(" id='")) + len(" id='")
			id, _, _ := bytes.Cut(buf[a:n], []byte("'"))
			s.send("<iq type='result' from='example' to='pub.example' id='" + string(id) + "'/>")
			kept = 0
			continue
		}
		kept = copy(buf, buf[at:n])
	}
}

const pingLength = 400

var pingMark = []byte("<ping xmlns='urn:xmpp:ping'/></iq>")

// BenchmarkFanout writes messages of 600 bytes to 10,000 addresses, over loopback, to a server that looks for pings only.
func BenchmarkFanout(b *testing.B) {
	for _, inFlight := range []int{1, 32} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) { fanout(b, 10_000, inFlight) })
	}
}

func fanout(b *testing.B, addresses, inFlight int) {
	w := newWorld(b, nil)
	w.link.times.tick = 100 * time.Millisecond
	w.link.times.save = 100 * time.Millisecond
	w.link.Handle(domain, newDesk(nil))
	for i := range addresses {
		w.link.Peer(user(i), domain).Attach(w.j.reader(1, 0))
	}
	w.run()
	s := w.connect()
	go s.drain()
	message := []byte("\x00 from='pub.example'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='/n'><item id='1'>" +
		strings.Repeat("x", 480) + "</item></items></event></message>")
	out := func() uint64 { return w.link.stanzasOut.Load() }
	w.until("begun", func() bool { return w.link.Stats().Sources == 1 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.SetBytes(int64(len(message) * addresses))
	b.ResetTimer()
	bytes := w.link.bytesOut.Load()
	for i := 0; i < b.N; i += inFlight {
		n := min(inFlight, b.N-i)
		want := out() + uint64(n*addresses)
		for range n {
			w.j.publishRaw(message)
		}
		for out() < want {
			time.Sleep(100 * time.Microsecond)
		}
	}
	b.StopTimer()
	runtime.ReadMemStats(&after)
	deliveries := float64(b.N * addresses)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/deliveries, "ns/delivery")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/deliveries, "alloc-B/delivery")
	b.ReportMetric(float64(w.link.bytesOut.Load()-bytes)/deliveries, "wire-B/delivery")
	s.nc.Close()
	w.link.times.stop = 0
	w.ln.Close()
	w.stop()
	w.close()
}

// BenchmarkFill puts together what is written, without a socket.
func BenchmarkFill(b *testing.B) {
	for _, addresses := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("addresses=%d", addresses), func(b *testing.B) {
			w := newWorld(b, nil)
			defer w.close()
			l := w.link
			message := []byte("\x00 from='pub.example'><x>" + strings.Repeat("x", 560) + "</x></message>")
			w.j.publishRaw(message)
			r := w.j.reader(1, 0)
			_, src, _ := r.Open(r.Mark())
			s := &strand{l: l, src: src, dirty: true, moved: true}
			l.families[nil] = &family{main: s}
			v := l.servedLocked(domain)
			for i := range addresses {
				s.members = append(s.members, member{head: l.newPeerLocked(v, user(i)).head})
			}
			out := pieces{make([]byte, 0, 2*pieceSize)}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				before := l.stanzasOut.Load()
				out[0] = out[0][:0]
				s.fill(out, pieceSize)
				n += int(l.stanzasOut.Load() - before)
				src.(*source).at = 0 // the same again
			}
		})
	}
}

// BenchmarkStanza takes requests from the socket, which a service answers.
func BenchmarkStanza(b *testing.B) {
	w := newWorld(b, nil)
	w.link.Handle(domain, newDesk(echo))
	w.run()
	s := w.connect()
	go io.Copy(io.Discard, s.nc)
	st := "<iq type='get' id='%d' from='u%d@host.example/r' to='pub.example'><query xmlns='urn:q'><item name='a'>text</item></query></iq>"
	var block []byte
	for i := range 100 {
		block = fmt.Appendf(block, st, i, i)
	}
	b.ResetTimer()
	for i := 0; i < b.N; i += 100 {
		if _, err := s.nc.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	for w.link.stanzasOut.Load() < uint64(b.N/100*100) {
		time.Sleep(100 * time.Microsecond)
	}
	b.StopTimer()
	s.nc.Close()
	w.ln.Close()
	w.stop()
	w.close()
}

// BenchmarkPeers reports what an address costs that has a flow, and how long it takes until all are open.
func BenchmarkPeers(b *testing.B) {
	for _, n := range []struct{ addresses, keys int }{{100_000, 1}, {100_000, 10_000}, {100_000, 100_000}} {
		b.Run(fmt.Sprintf("addresses=%d/keys=%d", n.addresses, n.keys), func(b *testing.B) {
			for range b.N {
				w := newWorld(b, nil)
				w.link.Handle(domain, newDesk(nil))
				before := memory()
				for i := range n.addresses {
					r := w.j.reader(1, 0)
					r.ended = nil
					if n.keys > 1 {
						r.name = fmt.Sprint(i % n.keys)
					}
					w.link.Peer(user(i), domain).Attach(r)
				}
				w.run()
				began := time.Now()
				s := w.connect()
				go s.drain()
				w.until("open", func() bool { return w.link.Stats().Sources == int64(n.keys) })
				b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-to-open")
				b.ReportMetric(float64(memory()-before)/float64(n.addresses), "B/address")
				began = time.Now()
				s.nc.Close()
				s = w.connect()
				b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-to-reconnect")
				w.until("connected", func() bool { return w.link.Stats().Connected })
				w.link.times.stop = 0
				s.nc.Close()
				w.ln.Close()
				w.stop()
				w.close()
			}
		})
	}
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
