package websocket

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tidings/edge"
)

// record notes what a connection's handler was told.
type record struct {
	*testing.T
	b    strings.Builder
	done chan struct{}
}

func (h *record) Message(_ *Conn, binary bool, p []byte) error {
	if len(p) > fuzzMax || !binary && !utf8.Valid(p) {
		h.Errorf("a message of %d bytes, valid UTF-8: %t", len(p), utf8.Valid(p))
	}
	fmt.Fprintf(&h.b, "%t %q\n", binary, p)
	return nil
}

func (h *record) Closed(_ *Conn, code int) {
	fmt.Fprintf(&h.b, "closed %d\n", code)
	close(h.done)
}

const fuzzMax = 1000

// play gives the bytes to a connection, the first n of them at once and the rest step at a time, and returns what the
// handler was told and what the server wrote.
func play(t *testing.T, e *edge.Edge, in []byte, n, step int) (told, wrote string) {
	h := &record{T: t, done: make(chan struct{})}
	c := &Conn{handler: h, max: fuzzMax, deflate: true}
	c.proto = edge.Protocol{Name: "fuzz", Input: c.input, Closed: c.closed}
	ours, theirs := net.Pipe()
	ours.SetDeadline(time.Now().Add(patience))
	out := make(chan string)
	go func() {
		b, _ := io.ReadAll(ours)
		out <- string(b)
	}()
	if _, err := e.Add(theirs, in[:n], &c.proto); err != nil {
		t.Fatal(err)
	}
	for rest := in[n:]; len(rest) > 0; {
		k := min(step, len(rest))
		if _, err := ours.Write(rest[:k]); err != nil {
			break // closed by the server
		}
		rest = rest[k:]
	}
	// A pipe's write returns when it is read, and the edge reads again when it has used what it read before.
	ours.Write(nil)
	ours.Close()
	<-h.done
	wrote = <-out
	return h.b.String(), wrote
}

// FuzzInput: whatever comes, in whatever pieces, the handler is told the same and the server's frames are whole.
func FuzzInput(f *testing.F) {
	for i, tc := range conversations {
		if len(tc.send) < 400 {
			f.Add(tc.send, i%7, 1+i%5)
		}
	}
	f.Add(frame(bitFin|bitRSV1|opText, "\xf2\x48\xcd\xc9\xc9\x07\x00"), 0, 1)
	f.Add(join(frame(bitRSV1|opText, "\xf2\x48"), frame(bitFin, "\xcd\xc9\xc9\x07\x00")), 3, 2)
	f.Add(frame(bitFin|bitRSV1|opText, deflated(f, strings.Repeat("x", 5000), true)), 0, 4)
	e, err := edge.New(edge.Options{MaxQueue: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
	})
	f.Fuzz(func(t *testing.T, in []byte, n, step int) {
		if len(in) > 4000 {
			return
		}
		told, wrote := play(t, e, in, len(in), 1)
		n = max(0, min(n, len(in)))
		if again, _ := play(t, e, in, n, max(1, min(step, 1000))); again != told {
			t.Errorf("in one piece:\n%s\nin several:\n%s", told, again)
		}
		if n := strings.Count(told, "closed "); n != 1 {
			t.Errorf("told of the end %d times", n)
		}
		c := &client{r: bufio.NewReader(bytes.NewReader([]byte(wrote)))}
		for {
			w := c.words()
			if w == "end" || w == io.ErrUnexpectedEOF.Error() { // the client closed while it was written
				break
			}
			if !strings.HasPrefix(w, "pong ") && !strings.HasPrefix(w, "close") {
				t.Errorf("the server wrote %s", w)
				break
			}
		}
	})
}

// FuzzInflate: never more than the limit, and what was deflated comes back.
func FuzzInflate(f *testing.F) {
	f.Add([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"))
	f.Add([]byte(deflated(f, strings.Repeat("a", 100000), true)))
	f.Add([]byte(deflated(f, "hello", false)))
	f.Add([]byte("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"))
	f.Add([]byte("\xff\xff"))
	f.Add([]byte(`{"$schema":"/mediawiki/recentchange/1.0.1","meta":{"domain":"en.wikipedia.org"},"type":"edit","type":"edit"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if b, err := inflate(in, fuzzMax); err == nil && len(b) > fuzzMax {
			t.Errorf("inflated to %d bytes", len(b))
		}
		frame := AppendDeflated(nil, in)
		c := &client{r: bufio.NewReader(bytes.NewReader(frame))}
		first, p, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		if first&bitRSV1 != 0 {
			if p, err = inflate(p, len(in)); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(p, in) {
			t.Errorf("%q came back as %q", in, p)
		}
	})
}

// FuzzNegotiate: no offer makes the answer anything but one of two.
func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{"permessage-deflate; client_max_window_bits", "permessage-deflate; server_max_window_bits=15, x", `a;b="c,d", permessage-deflate`, ";,;", "permessage-deflate;=;"} {
		f.Add(s)
	}
	const both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	f.Fuzz(func(t *testing.T, offer string) {
		switch got := negotiateDeflate([]string{offer}); got {
		case "", both, both + "; server_max_window_bits=15":
		default:
			t.Errorf("%q gave %q", offer, got)
		}
	})
}
