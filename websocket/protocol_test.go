package websocket

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidings/edge"
)

func join(bs ...[]byte) []byte { return bytes.Join(bs, nil) }

// conversations are what a client sends and the frames it gets back, the close frame included. The sections are those of
// RFC 6455; the cases follow Autobahn's fuzzing client.
var conversations = []struct {
	name string
	send []byte
	want string // separated by |
}{
	// Framing.
	{"empty text", text(""), "text "},
	{"text", text("hello"), "text hello"},
	{"binary", frame(bitFin|opBinary, "\x00\xff"), "binary 00ff"},
	{"three at once", join(text("1"), text("2"), text("3")), "text 1|text 2|text 3"},
	{"125 bytes", text(strings.Repeat("x", 125)), "text " + strings.Repeat("x", 125)},
	{"126 bytes", text(strings.Repeat("x", 126)), "text " + strings.Repeat("x", 126)},
	{"65535 bytes", text(strings.Repeat("x", 65535)), "text 65535 bytes"},
	{"65536 bytes", text(strings.Repeat("x", 65536)), "text 65536 bytes"},

	// Control frames.
	{"ping", frame(bitFin|opPing, "are you there"), "pong are you there"},
	{"ping of 125", frame(bitFin|opPing, strings.Repeat("p", 125)), "pong " + strings.Repeat("p", 125)},
	{"ping of 126", frame(bitFin|opPing, strings.Repeat("p", 126)), "close 1002"},
	{"unsolicited pong", join(frame(bitFin|opPong, "x"), text("y")), "text y"},
	{"ten pings", bytes.Repeat(frame(bitFin|opPing, "p"), 10), strings.TrimSuffix(strings.Repeat("pong p|", 10), "|")},
	{"fragmented ping", frame(opPing, "x"), "close 1002"},
	{"fragmented close", frame(opClose, "\x03\xe8"), "close 1002"},

	// Reserved bits and opcodes.
	{"rsv1", frame(bitFin|bitRSV1|opText, "x"), "close 1002"},
	{"rsv2", frame(bitFin|0x20|opText, "x"), "close 1002"},
	{"rsv3 behind a good one", join(text("a"), frame(bitFin|0x10|opText, "x")), "text a|close 1002"},
	{"rsv1 on a ping", frame(bitFin|bitRSV1|opPing, "x"), "close 1002"},
	{"opcode 3", frame(bitFin|3, ""), "close 1002"},
	{"opcode 7", frame(bitFin|7, "x"), "close 1002"},
	{"opcode 11", frame(bitFin|11, "x"), "close 1002"},
	{"opcode 15", join(text("a"), frame(bitFin|15, "x"), text("b")), "text a|close 1002"},

	// Masks and lengths (sections 5.1 and 5.2).
	{"no mask", AppendText(nil, []byte("x")), "close 1002"},
	{"no mask, empty", AppendText(nil, nil), "close 1002"},
	{"no mask on a ping", AppendPing(nil, nil), "close 1002"},
	{"long form of a short length", []byte{bitFin | opText, bitMask | 126, 0, 125, 0, 0, 0, 0}, "close 1002"},
	{"longest form of a short length", []byte{bitFin | opText, bitMask | 127, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0}, "close 1002"},
	{"length of 64 bits", []byte{bitFin | opText, bitMask | 127, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "close 1002"},

	// Fragmentation (section 5.4).
	{"two fragments", join(frame(opText, "he"), frame(bitFin, "llo")), "text hello"},
	{"empty fragments", join(frame(opText, ""), frame(0, ""), frame(bitFin, "")), "text "},
	{"ping between fragments", join(frame(opText, "he"), frame(bitFin|opPing, "p"), frame(0, "l"), frame(bitFin|opPing, "q"), frame(bitFin, "lo")), "pong p|pong q|text hello"},
	{"binary fragments", join(frame(opBinary, "\x01"), frame(0, "\x02"), frame(bitFin, "\x03")), "binary 010203"},
	{"continuation of nothing", frame(bitFin, "x"), "close 1002"},
	{"open continuation of nothing", frame(0, "x"), "close 1002"},
	{"continuation behind a whole message", join(text("a"), frame(bitFin, "x")), "text a|close 1002"},
	{"text inside a message", join(frame(opText, "a"), frame(bitFin|opText, "b")), "close 1002"},
	{"binary inside a message", join(frame(opText, "a"), frame(opBinary, "b")), "close 1002"},

	// UTF-8 (section 8.1).
	{"runes", text("κόσμε 𝄞"), "text κόσμε 𝄞"},
	{"rune across fragments", join(frame(opText, "\xce"), frame(bitFin, "\xba")), "text κ"},
	{"noncharacters are valid", text("\xef\xbf\xbf"), "text \xef\xbf\xbf"},
	{"a lone continuation byte", text("\x80"), "close 1007"},
	{"a surrogate", text("\xed\xa0\x80"), "close 1007"},
	{"overlong", text("\xc0\xaf"), "close 1007"},
	{"beyond unicode", text("\xf4\x90\x80\x80"), "close 1007"},
	{"cut rune", text("\xce"), "close 1007"},
	{"bad in the second fragment", join(frame(opText, "ok"), frame(bitFin, "\xff")), "close 1007"},
	{"binary may be anything", frame(bitFin|opBinary, "\xff\xfe"), "binary fffe"},

	// Sizes.
	{"too big", text(strings.Repeat("x", maxMessage+1)), "close 1009"},
	{"too big by its header alone", []byte{bitFin | opText, bitMask | 127, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "close 1009"},
	{"too big in fragments", join(frame(opText, strings.Repeat("x", maxMessage)), frame(bitFin, "x")), "close 1009"},

	// Closing (sections 5.5.1 and 7).
	{"close", frame(bitFin|opClose, ""), "close"},
	{"close 1000", frame(bitFin|opClose, "\x03\xe8"), "close 1000"},
	{"close with a reason", frame(bitFin|opClose, "\x0b\xb8bye"), "close 3000"},
	{"nothing counts behind close", join(frame(bitFin|opClose, "\x03\xe8"), text("x")), "close 1000"},
	{"close inside a message", join(frame(opText, "a"), frame(bitFin|opClose, "\x03\xe9")), "close 1001"},
	{"close of one byte", frame(bitFin|opClose, "\x03"), "close 1002"},
	{"close of 126 bytes", frame(bitFin|opClose, "\x03\xe8"+strings.Repeat("x", 124)), "close 1002"},
	{"reason not UTF-8", frame(bitFin|opClose, "\x03\xe8\xff"), "close 1007"},

	// What the handler wants.
	{"closed by the handler", join(text("close me"), text("x")), "close 4321"},
	{"failed by the handler", text("fail"), "close 1011"},
}

const maxMessage = 65536

func init() {
	for code, ok := range map[int]bool{0: false, 999: false, 1000: true, 1003: true, 1004: false, 1005: false, 1006: false, 1007: true, 1011: true,
		1014: true, 1015: false, 1016: false, 1100: false, 2000: false, 2999: false, 3000: true, 3999: true, 4000: true, 4999: true, 5000: false, 65535: false} {
		want := "close 1002"
		if ok {
			want = fmt.Sprintf("close %d", code)
		}
		conversations = append(conversations, struct {
			name string
			send []byte
			want string
		}{fmt.Sprintf("close code %d", code), frame(bitFin|opClose, string([]byte{byte(code >> 8), byte(code)})), want})
	}
}

// TestConversations has each conversation whole, with the handshake in one packet, and a few bytes at a time.
func TestConversations(t *testing.T) {
	s := serve(t, Options{MaxMessage: maxMessage}, edge.Options{MaxQueue: 1 << 20})
	for _, tc := range conversations {
		for _, step := range []int{0, -1, 1, 3, 7} {
			if step > 0 && len(tc.send) > 1000 {
				step *= 10000
			}
			t.Run(fmt.Sprintf("%s/%d", tc.name, step), func(t *testing.T) {
				t.Parallel()
				s := &server{T: t, edge: s.edge, http: s.http}
				var c *client
				switch {
				case step < 0:
					c = s.dial("", tc.send...)
				case step == 0:
					c = s.dial("")
					c.send(tc.send)
				default:
					c = s.dial("")
					for b := tc.send; len(b) > 0; {
						n := min(step, len(b))
						if _, err := c.Write(b[:n]); err != nil {
							break // the server has closed on what it has got
						}
						b = b[n:]
					}
				}
				want := strings.Split(tc.want, "|")
				c.expect(t, want...)
				if strings.HasPrefix(want[len(want)-1], "close") {
					if got := c.words(); got != "end" {
						t.Errorf("behind the close frame: %q", got)
					}
					return
				}
				c.send(text("still there"))
				c.expect(t, "text still there")
			})
		}
	}
}

// TestClosedCodes: the handler hears the code of the peer's close frame and the edge counts a constant reason.
func TestClosedCodes(t *testing.T) {
	s := serve(t, Options{}, edge.Options{})
	for _, tc := range []struct {
		send   []byte
		code   int
		reason string
	}{
		{frame(bitFin|opClose, "\x03\xe8"), NormalClosure, "websocket-closed"},
		{frame(bitFin|opClose, "\x0f\xa1x"), 4001, "websocket-closed"},
		{frame(bitFin|opClose, ""), NoStatus, "websocket-closed"},
		{frame(bitFin|15, ""), Abnormal, "websocket-protocol"},
		{text("\xff"), Abnormal, "websocket-invalid-payload"},
		{text(strings.Repeat("x", 65537)), Abnormal, "websocket-too-big"},
		{text("fail"), Abnormal, "websocket-internal"},
		{text("close me"), Abnormal, "websocket-other"},
		{nil, Abnormal, "peer-closed"},
		{[]byte{bitFin | opText}, Abnormal, "peer-closed"},
	} {
		before := s.edge.Stats().Closed[tc.reason]
		c := s.dial("")
		c.send(tc.send)
		if tc.reason == "peer-closed" {
			c.Close()
		}
		if got := s.code(); got != tc.code {
			t.Errorf("%x: told the code %d, want %d", tc.send, got, tc.code)
		}
		if n := s.edge.Stats().Closed[tc.reason]; n != before+1 {
			t.Errorf("%x: %s was counted %d times: %v", tc.send, tc.reason, n-before, s.edge.Stats().Closed)
		}
	}
}

// TestCodeArrives: a client that is still sending when it is closed for an error sees the code, and no reset.
func TestCodeArrives(t *testing.T) {
	s := serve(t, Options{}, edge.Options{})
	for want, bad := range map[string][]byte{
		"close 1002": frame(bitFin|15, ""), "close 1007": text("\xff"), "close 1009": text(strings.Repeat("x", 1<<20)), "close 1011": text("fail"), "close 4321": text("close me"),
	} {
		c := s.dial("")
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(join(bad, text(strings.Repeat("y", 1<<20))))
			sent <- err
		}()
		if err := <-sent; err != nil {
			t.Errorf("%s: sending: %v", want, err)
		}
		c.expect(t, want, "end")
	}
}

// TestServerCloses: with a code and a reason that is cut at a rune; and once only.
func TestServerCloses(t *testing.T) {
	s := serve(t, Options{}, edge.Options{})
	c := s.dial("")
	conn := <-s.conns
	conn.WriteText([]byte("before"))
	conn.Close(PolicyViolation, strings.Repeat("€", 60))
	conn.WriteText([]byte("after"))
	conn.Close(NormalClosure, "")
	c.expect(t, "text before")
	first, p, err := c.read()
	if err != nil || first != bitFin|opClose || string(p) != "\x03\xf0"+strings.Repeat("€", 41) {
		t.Errorf("got %#x %q, %v", first, p, err)
	}
	c.expect(t, "end")
	if n := s.edge.Stats().Closed["websocket-policy"]; n != 1 {
		t.Errorf("counted %v", s.edge.Stats().Closed)
	}
}

// TestShutdown: the edge's goodbye is a close frame, behind what the protocol above has to say.
func TestShutdown(t *testing.T) {
	s := serve(t, Options{Goodbye: AppendText(nil, []byte("so long"))}, edge.Options{})
	c := s.dial("")
	<-s.conns
	if err := s.edge.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.expect(t, "text so long", "close 1001", "end")
	if got := s.code(); got != Abnormal {
		t.Errorf("told the code %d", got)
	}
}

// TestKeepalive: a silent connection is pinged, and its pong is no message.
func TestKeepalive(t *testing.T) {
	s := serve(t, Options{}, edge.Options{Keepalive: time.Second})
	c := s.dial("")
	c.expect(t, "ping ")
	c.send(frame(bitFin|opPong, ""), text("x"))
	c.expect(t, "text x")
}
