package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zlib"

	"tidings/xmpp/xmlstream/xmlstreamtest"
)

// conn reads from a buffer and writes to another.
type conn struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.Write(p) }

func deflated(t testing.TB, parts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	for _, p := range parts {
		if _, err := io.WriteString(w, p); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// pair returns the two ends of a connection.
func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return a, b
}

// What one side has written the other can read before anything more is written.
func TestZlibFlushes(t *testing.T) {
	a, b := pair(t)
	x, y := NewZlib(a, nil), NewZlib(b, nil)
	for _, s := range []string{"<stream:stream>", "<message/>", strings.Repeat("<iq/>", 1000)} {
		for _, d := range []struct{ from, to *Zlib }{{x, y}, {y, x}} {
			if n, err := io.WriteString(d.from, s); err != nil || n != len(s) {
				t.Fatal(n, err)
			}
			got := make([]byte, len(s))
			if _, err := io.ReadFull(d.to, got); err != nil || string(got) != s {
				t.Fatalf("%q, %v", got, err)
			}
		}
	}
	a.Close()
	if n, err := y.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
}

// A deadline reaches the connection.
func TestZlibDeadline(t *testing.T) {
	_, b := pair(t)
	z := NewZlib(b, nil)
	z.SetReadDeadline(time.Unix(1, 0))
	for range 2 {
		if _, err := z.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
}

// partialFlush is what zlib writes for Z_PARTIAL_FLUSH, which XEP-0138 section 6.1 recommends: a block with fixed codes that
// holds "hello world", and an empty one instead of an aligned one.
var partialFlush = []byte{0x78, 0x9c, 0xca, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0x28, 0xcf, 0x2f, 0xca, 0x49, 0x01, 0x04}

func TestZlibPartialFlush(t *testing.T) {
	a, b := pair(t)
	if _, err := a.Write(partialFlush); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 11)
	if _, err := io.ReadFull(NewZlib(b, nil), got); err != nil || string(got) != "hello world" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestZlibInput(t *testing.T) {
	all := deflated(t, "first", "second")
	for n := range len(all) {
		got, err := io.ReadAll(NewZlib(&conn{in: bytes.NewReader(all[n:])}, all[:n]))
		if string(got) != "firstsecond" || err != nil {
			t.Fatalf("with %d bytes received before: %q, %v", n, got, err)
		}
	}
}

func TestZlibBounds(t *testing.T) {
	noise := make([]byte, 1<<20)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	var dull strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&dull, "<message from='enwiki@conference.localhost/rc' id='%d' type='groupchat'><body>A page was edited</body></message>", i)
	}
	for _, tc := range []struct {
		name string
		data []byte
		most int // bytes that may be given out
		err  string
	}{
		{"a bomb", deflated(t, strings.Repeat("\x00", 16<<20)), 1 << 20, "policy-violation"},
		// What was sent honestly buys nothing.
		{"a bomb behind noise", deflated(t, string(noise), strings.Repeat(" ", 16<<20)), 8 << 20, "policy-violation"},
		{"noise", deflated(t, string(noise)), len(noise), ""},
		{"dull stanzas", deflated(t, dull.String()), dull.Len(), ""},
		{"no zlib", []byte("<stream:stream xmlns='jabber:client'>"), 0, "undefined-condition"},
		{"a preset dictionary", []byte{0x78, 0xbb, 0, 0, 0, 0}, 0, "undefined-condition"},
		{"a block of no type", []byte{0x78, 0x9c, 0xff}, 0, "undefined-condition"},
		{"half a header", []byte{0x78}, 0, ""},
		{"nothing", nil, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			z := NewZlib(&conn{in: bytes.NewReader(tc.data)}, nil)
			n, err := io.Copy(io.Discard, z)
			condition := ""
			var e *Error
			if errors.As(err, &e) {
				condition = e.Condition
			} else if err != nil {
				t.Fatal(err)
			}
			if condition != tc.err || int(n) > tc.most {
				t.Errorf("%d bytes and %q (%v), want at most %d and %q", n, condition, err, tc.most, tc.err)
			}
			if tc.err == "" && int(n) != tc.most {
				t.Errorf("%d bytes, want %d", n, tc.most)
			}
			if _, again := z.Read(make([]byte, 1)); err != nil && again != err {
				t.Errorf("the next error is %v", again)
			}
		})
	}
}

func TestZlibFailure(t *testing.T) {
	_, err := NewZlib(&conn{in: strings.NewReader("<stream")}, nil).Read(make([]byte, 1))
	want := `<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>the compressed data is damaged</text><failure xmlns='http://jabber.org/protocol/compress'><processing-failed/></failure></stream:error>`
	if got := string(AsError(err).Append(nil, TCP)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseCompress(t *testing.T) {
	for in, want := range map[string][2]bool{
		string(AppendCompress(nil)): {true, true},
		"<compress xmlns='" + NSCompress + "'><method>lzw</method></compress>": {true, false},
		"<compress xmlns='" + NSCompress + "'/>":                               {true, false},
		"<compress xmlns='x'><method>zlib</method></compress>":                 {false, false},
	} {
		request, zlib := ParseCompress(xmlstreamtest.Element(t, in))
		if got := [2]bool{request, zlib}; got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

// FuzzZlib reads anything: it ends, within the bound.
func FuzzZlib(f *testing.F) {
	f.Add(deflated(f, "<stream:stream xmlns='jabber:client'>", "<message/>"))
	f.Add(deflated(f, strings.Repeat("a", 1<<20)))
	f.Add(partialFlush)
	f.Add([]byte{0x78, 0x9c, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, _ := io.Copy(io.Discard, NewZlib(&conn{in: bytes.NewReader(b)}, nil))
		// Each window of input may have its slack, and what one Read returned before the bound was seen.
		if windows := len(b)/inflateWindow + 1; int(n) > inflateRatio*len(b)+windows*(inflateSlack+64<<10) {
			t.Fatalf("%d bytes became %d", len(b), n)
		}
	})
}
