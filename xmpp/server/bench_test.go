package server

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
)

// BenchmarkIdle reports what a session costs that is joined to a flow and has nothing to do, with the heap and the stacks of
// this process (the client's end is a descriptor and no more over TCP).
func BenchmarkIdle(b *testing.B) {
	for _, kind := range []struct {
		name string
		mode TLSMode
		sm   bool
		n    int
	}{{"tcp", NoTLS, false, 2000}, {"tcp+sm", NoTLS, true, 2000}, {"websocket", webSocketMode, false, 500}, {"tls", DirectTLS, false, 500}} {
		b.Run(kind.name, func(b *testing.B) {
			for range b.N {
				w := start(b, nil)
				join := func() {
					c := w.dial(kind.mode)
					c.anonymous()
					c.bind("")
					if kind.sm {
						c.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
						c.until("/>")
					}
					c.send("<presence to='pulse.localhost'/>")
					c.until("/>")
					if tcp, ok := c.nc.(*net.TCPConn); ok {
						f, err := tcp.File()
						if err != nil {
							b.Fatal(err)
						}
						tcp.Close()
						w.conns[len(w.conns)-1] = closing{file: f}
					}
				}
				join()
				w.pulse.beat(1)
				before := memory()
				for range kind.n {
					join()
				}
				sent := w.s.stanzasOut.Load()
				w.pulse.beat(1)
				for w.s.stanzasOut.Load() < sent+uint64(kind.n) {
					runtime.Gosched()
				}
				after := memory()
				b.ReportMetric(float64(after-before)/float64(kind.n), "B/session")
				for _, c := range w.conns {
					c.Close()
				}
			}
		})
	}
}

type closing struct {
	net.Conn
	file *os.File
}

func (c closing) Close() error { return c.file.Close() }

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkFanout writes one message at a time to many sessions.
func BenchmarkFanout(b *testing.B) {
	w := start(b, nil)
	const n = 1000
	done := make(chan struct{}, n)
	for range n {
		c, _ := w.visit()
		c.send("<presence to='pulse.localhost'/>")
		c.until("/>")
		go func() {
			buf := make([]byte, 64<<10)
			for {
				if _, err := c.nc.Read(buf); err != nil {
					return
				}
				done <- struct{}{}
			}
		}()
	}
	b.ResetTimer()
	for range b.N {
		w.pulse.beat(1)
		for range n {
			<-done
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "us/delivery")
	for _, c := range w.conns {
		c.Close()
	}
}

// BenchmarkStanza routes stanzas from the socket to the service, which answers none.
func BenchmarkStanza(b *testing.B) {
	w := start(b, nil)
	c, _ := w.visit()
	go io.Copy(io.Discard, c.nc)
	st := []byte(fmt.Sprintf("<iq to='pulse.localhost' type='result' id='%d'><query xmlns='urn:q'><item name='a'>text</item></query></iq>", 1))
	var block []byte
	for range 100 {
		block = append(block, st...)
	}
	b.SetBytes(int64(len(st)))
	b.ResetTimer()
	before := w.s.stanzasIn.Load()
	for i := 0; i < b.N; i += 100 {
		if _, err := c.nc.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	for w.s.stanzasIn.Load()-before < uint64(b.N/100*100) {
		runtime.Gosched()
	}
}
