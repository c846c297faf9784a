package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// reader is a client that counts what it gets, and may lose its connection anywhere.
type reader struct {
	t      *testing.T
	w      *world
	mode   TLSMode
	c      *client
	scan   xmlstream.Scanner
	doc    xmlstream.Document
	ns     *xmlstream.Context
	full   string
	previd string
	rnd    *rand.Rand

	h        uint32            // stanzas handled
	sent     int               // messages of its own, numbered
	answers  int               // of them, in order
	beats    map[string]int    // last number of each flow
	counting bool              // stream management is on
	control  map[string]string // last elements of stream management by name
}

func (w *world) reader(t *testing.T, mode TLSMode, rnd *rand.Rand) *reader {
	r := &reader{t: t, w: w, mode: mode, rnd: rnd, beats: map[string]int{}, control: map[string]string{}}
	r.connect()
	r.full = r.c.bind("reader")
	r.c.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	e := r.c.until("/>")
	_, e, _ = strings.Cut(e, " id='")
	r.previd, _, _ = strings.Cut(e, "'")
	if len(r.previd) < 26 {
		t.Fatalf("previd is %q", r.previd)
	}
	r.counting = true
	return r
}

func (r *reader) connect() {
	r.c = r.w.dial(r.mode)
	if r.mode == DirectTLS {
		r.c.plain("alice")
	} else {
		r.c.anonymous()
	}
	r.scan.Reset()
	r.scan.Feed([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"))
	_, raw, err := r.scan.Next()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, r.ns, err = r.doc.ParseHeader(raw); err != nil {
		r.t.Fatal(err)
	}
}

// take reads up to n bytes, or as many as there are until so is true, and handles what is complete in them. It reports false if
// the server has closed the connection.
func (r *reader) take(n int, so func() bool) bool {
	r.t.Helper()
	buf := make([]byte, 4096)
	for n > 0 && !so() {
		p := buf[:min(n, len(buf))]
		if len(r.c.in) > 0 {
			k := copy(p, r.c.in)
			r.c.in = r.c.in[k:]
			p = p[:k]
		} else {
			r.c.nc.SetReadDeadline(time.Now().Add(patient))
			k, err := r.c.nc.Read(p)
			if err != nil && k == 0 {
				if ne, ok := err.(net.Error); ok && ne.Timeout() {
					r.t.Fatalf("nothing came: %+v, handled %d, %v", r.beats, r.h, r.w.s.Stats())
				}
				return false
			}
			p = p[:k]
		}
		n -= len(p)
		r.scan.Feed(append([]byte(nil), p...))
		for {
			kind, raw, err := r.scan.Next()
			if err != nil {
				r.t.Fatal(err)
			}
			if kind == xmlstream.None {
				break
			}
			if kind == xmlstream.End {
				return false
			}
			e, err := r.doc.Parse(raw, r.ns)
			if err != nil {
				r.t.Fatal(err)
			}
			if !stream.IsError(e) && !e.Is(stream.NSFraming, "close") {
				r.handle(e)
			}
		}
	}
	return true
}

func (r *reader) handle(e xmlstream.Element) {
	if e.Space() == stream.NSSM {
		r.control[e.Name()] = string(e.Raw())
		if e.Name() == "r" {
			r.try("<a xmlns='urn:xmpp:sm:3' h='%d'/>", r.h)
		}
		return
	}
	st, err := stanza.Parse(e)
	if err != nil {
		r.t.Fatalf("%v: %s", err, e.Raw())
	}
	r.h++
	if st.Kind != stanza.Message {
		return
	}
	if st.Type == stanza.TypeChat {
		n, _ := strconv.Atoi(st.ID)
		if n != r.answers+1 {
			r.t.Fatalf("answer %d behind %d", n, r.answers)
		}
		r.answers = n
		return
	}
	from := st.From.String()
	for number := range strings.FieldsSeq(st.Child("body").Text()) {
		n, _ := strconv.Atoi(number)
		if n != r.beats[from]+1 {
			r.t.Fatalf("%s: message %d behind %d", from, n, r.beats[from])
		}
		r.beats[from] = n
	}
}

// resume comes back, and says again what was not handled.
func (r *reader) resume() {
	r.t.Helper()
	r.control = map[string]string{}
	for {
		r.connect()
		r.try("<resume xmlns='urn:xmpp:sm:3' h='%d' previd='%s'/>", r.h, r.previd)
		if r.rnd.IntN(4) == 0 { // lost before there was an answer, or behind it
			r.c.nc.Close()
			continue
		}
		// An attempt that was given up may have the session, for a moment.
		if r.take(1<<30, func() bool { return r.control["resumed"] != "" || r.control["failed"] != "" }) {
			break
		}
		r.c.nc.Close()
	}
	_, h, ok := strings.Cut(r.control["resumed"], " h='")
	h, _, _ = strings.Cut(h, "'")
	n, err := strconv.Atoi(h)
	if !ok || err != nil {
		r.t.Fatalf("not resumed: %v", r.control)
	}
	for i := n; i < r.sent; i++ {
		r.say(i + 1)
	}
}

// try sends on a connection that may have been lost.
func (r *reader) try(format string, args ...any) {
	r.c.nc.SetWriteDeadline(time.Now().Add(patient))
	fmt.Fprintf(r.c.nc, format, args...)
}

// say sends the numbered stanza: presences to the flows first, then messages.
func (r *reader) say(n int) {
	switch n {
	case 1:
		r.try("<presence to='pulse.localhost'/>")
	case 2:
		r.try("<presence to='other.localhost'/>")
	default:
		r.try("<message to='pulse.localhost' type='chat' id='%d'/>", n-2)
	}
}

// TestResume cuts connections after random numbers of bytes, while two flows go on and answers come. In every other run one of the
// flows gathers.
func TestResume(t *testing.T) {
	for _, mode := range []TLSMode{NoTLS, DirectTLS, webSocketMode} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%d/%d", mode, seed), func(t *testing.T) {
				t.Parallel()
				w := start(t, nil)
				other := w.service("other.localhost")
				other.joins = seed%2 == 1
				rnd := rand.New(rand.NewPCG(seed, uint64(mode)))
				r := w.reader(t, mode, rnd)
				total := 0
				for r.sent < 2 {
					r.sent++
					r.say(r.sent)
				}
				for range 25 {
					for range 1 + rnd.IntN(4) {
						r.sent++
						r.say(r.sent)
					}
					for range rnd.IntN(4) {
						n := rnd.IntN(200)
						w.pulse.beat(n)
						other.beat(n)
						total += n
					}
					w.pulse.keep(total - rnd.IntN(50))
					// A read that waits ends when everything has come.
					open := r.take(rnd.IntN(20_000), func() bool { return r.complete(total) })
					if !open || rnd.IntN(3) > 0 {
						if tcp, ok := r.c.nc.(*net.TCPConn); ok && rnd.IntN(2) == 0 {
							tcp.SetLinger(0)
						}
						if rnd.IntN(8) > 0 {
							r.c.nc.Close()
						}
						if rnd.IntN(2) == 0 { // while nobody is there
							w.pulse.beat(10)
							other.beat(10)
							total += 10
						}
						r.resume()
					}
				}
				for !r.take(1<<30, func() bool { return r.complete(total) }) {
					r.resume()
				}
				// Nothing comes twice.
				h := r.h
				r.sent++
				r.say(r.sent)
				for !r.take(1<<30, func() bool { return r.complete(total) }) {
					r.resume()
				}
				if r.h != h+1 {
					t.Errorf("%d stanzas behind the last", r.h-h)
				}
				r.try("</stream:stream>")
				r.c.rest()
			})
		}
	}
}

func (r *reader) complete(total int) bool {
	return r.answers == max(r.sent-2, 0) && r.beats["pulse.localhost"] == total && r.beats["other.localhost"] == total
}

// settle waits until every session with stream management waits for its resumption.
func (w *world) settle() {
	w.t.Helper()
	w.each(func(x *Session) bool { return x.state == waiting || x.over })
}

// ended waits until every session that has been closed is over.
func (w *world) ended() {
	w.t.Helper()
	w.each(func(x *Session) bool { return x.leaving == nil && x.state != ended || x.over })
}

func (w *world) each(so func(x *Session) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	w.s.mu.RLock()
	all := make([]*Session, 0, len(w.s.managed))
	for x := range w.s.managed {
		all = append(all, x)
	}
	w.s.mu.RUnlock()
	for _, x := range all {
		if err := x.gone(ctx, patient, "", func() bool { return so(x) }); err != nil {
			w.t.Fatalf("%v: %+v", err, w.s.Stats())
		}
	}
}
