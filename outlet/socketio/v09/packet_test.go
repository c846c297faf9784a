package v09

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestParsePacket has the examples of socket.io-spec, what clients of 2012 to 2015 send, and what is none.
func TestParsePacket(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want packet
		err  error
	}{
		{in: "0", want: packet{typ: '0'}},
		{in: "0::", want: packet{typ: '0'}},
		{in: "0::/rc", want: packet{typ: '0', endpoint: "/rc"}},
		{in: "1::/rc", want: packet{typ: '1', endpoint: "/rc"}},
		{in: "1::/rc:", want: packet{typ: '1', endpoint: "/rc"}}, // Python
		{in: "1::/rc?my=param", want: packet{typ: '1', endpoint: "/rc"}},
		{in: "1::/rc:?my=param", want: packet{typ: '1', endpoint: "/rc", data: []byte("?my=param")}}, // JavaScript
		{in: "2", want: packet{typ: '2'}},
		{in: "2::", want: packet{typ: '2'}},
		{in: "2:::", want: packet{typ: '2'}},
		{in: "3:1::blabla", want: packet{typ: '3', id: "1", data: []byte("blabla")}},
		{in: "3:1+:/rc:a:b", want: packet{typ: '3', id: "1", wantData: true, endpoint: "/rc", data: []byte("a:b")}},
		{in: `4:1::{"a":"b"}`, want: packet{typ: '4', id: "1", data: []byte(`{"a":"b"}`)}},
		{in: `5::/rc:{"name":"subscribe","args":["*"]}`, want: packet{typ: '5', endpoint: "/rc", data: []byte(`{"name":"subscribe","args":["*"]}`)}},
		{in: "6:::4", want: packet{typ: '6', data: []byte("4")}},
		{in: `6:::4+["A","B"]`, want: packet{typ: '6', data: []byte(`4+["A","B"]`)}},
		{in: "7:::1+0", want: packet{typ: '7', data: []byte("1+0")}},
		{in: "8::", want: packet{typ: '8'}},
		{in: "5:123456789012345678::x", want: packet{typ: '5', id: "123456789012345678", data: []byte("x")}},

		{in: "", err: errMalformed},
		{in: "55::", err: errMalformed},
		{in: "5:", err: errMalformed},
		{in: "5:1", err: errMalformed},
		{in: "hello", err: errMalformed},
		{in: "9::", err: errType},
		{in: "a", err: errType},
		{in: "/::", err: errType},
		{in: "5:x::", err: errID},
		{in: "5:+::", err: errID},
		{in: "5:1++::", err: errID},
		{in: "5:-1::", err: errID},
		{in: "5:1234567890123456789::", err: errID},
		{in: "1::/caf\u00e9", err: errEndpoint},
		{in: "1::/a b", err: errEndpoint},
		{in: "1::/a\x00", err: errEndpoint},
		{in: "1::/" + strings.Repeat("a", maxEndpoint), err: errEndpoint},
	} {
		got, err := parsePacket([]byte(tt.in))
		if !errors.Is(err, tt.err) {
			t.Errorf("%q: error %v, want %v", tt.in, err, tt.err)
			continue
		}
		if err == nil && (got.typ != tt.want.typ || got.id != tt.want.id || got.wantData != tt.want.wantData || got.endpoint != tt.want.endpoint || !bytes.Equal(got.data, tt.want.data)) {
			t.Errorf("%q: got %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestAppendPackets(t *testing.T) {
	for _, tt := range []struct {
		got  []byte
		want string
	}{
		{appendPacket(nil, typeConnect, "/rc", nil), "1::/rc"},
		{appendPacket(nil, typeMessage, "", []byte("x")), "3:::x"},
		{appendAck(nil, packet{id: "4", endpoint: "/rc"}, nil), "6::/rc:4"},
		{appendAck(nil, packet{id: "4"}, []byte("[null]")), "6:::4+[null]"},
		{appendEvent(nil, "/rc", "error", appendStrings(nil, "subscribe_error", "Too many subscriptions")),
			`5::/rc:{"args":["subscribe_error","Too many subscriptions"],"name":"error"}`},
		{appendFramed(nil, []byte("1::")), "\uFFFD3\uFFFD1::"},
		{appendJSONP(nil, "3", []byte("\uFFFD3\uFFFD1::\u2028\"</script>")), `io.j[3]("\ufffd3\ufffd1::\u2028\"</script>");`},
	} {
		if string(tt.got) != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestSplitPayload(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
		err  error
	}{
		{in: "2::", want: []string{"2::"}},
		{in: "", want: []string{""}},
		{in: "\uFFFD3\uFFFD2::", want: []string{"2::"}},
		{in: "\uFFFD6\uFFFD1::/rc\uFFFD3\uFFFD2::", want: []string{"1::/rc", "2::"}},
		{in: "\uFFFD5\uFFFD3:::é\uFFFD3\uFFFD2::", want: []string{"3:::é", "2::"}},
		{in: "\uFFFD6\uFFFD3:::𝄞\uFFFD3\uFFFD2::", want: []string{"3:::𝄞", "2::"}},                         // JavaScript counts two
		{in: "\uFFFD5\uFFFD3:::𝄞\uFFFD3\uFFFD2::", want: []string{"3:::𝄞", "2::"}},                         // Python one
		{in: "\uFFFD5\uFFFD3:::\uFFFD\uFFFD3\uFFFD2::", want: []string{"3:::\uFFFD", "2::"}},               // data with a mark
		{in: "\uFFFD7\uFFFD3:::\uFFFD1\uFFFD\uFFFD3\uFFFD2::", want: []string{"3:::\uFFFD1\uFFFD", "2::"}}, // that looks like a frame
		{in: "\uFFFD0\uFFFD\uFFFD3\uFFFD2::", want: []string{"", "2::"}},

		{in: "\uFFFD", err: errFrame},
		{in: "\uFFFD3", err: errFrame},
		{in: "\uFFFD\uFFFD2::", err: errFrame},
		{in: "\uFFFDx\uFFFD2::", err: errFrame},
		{in: "\uFFFD-3\uFFFD2::", err: errFrame},
		{in: "\uFFFD4\uFFFD2::", err: errFrame},
		{in: "\uFFFD2\uFFFD2::", err: errFrame},
		{in: "\uFFFD9999999999\uFFFD2::", err: errFrame},
		{in: "\uFFFD3\uFFFD2::x", err: errFrame},
	} {
		var got []string
		err := splitPayload([]byte(tt.in), func(p []byte) { got = append(got, string(p)) })
		if !errors.Is(err, tt.err) || err == nil && !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, %v, want %q, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestUnframe(t *testing.T) {
	for in, want := range map[string]string{
		"\uFFFD3\uFFFD1::":                    "1::",
		"\uFFFD3\uFFFD1::\uFFFD3\uFFFD2::":    "\uFFFD3\uFFFD1::\uFFFD3\uFFFD2::",
		"\uFFFD10\uFFFD5::/rc:{}x":            "5::/rc:{}x",
		"1::":                                 "1::",
		"\uFFFD1\uFFFD1\uFFFD12\uFFFD2::::::": "\uFFFD1\uFFFD1\uFFFD12\uFFFD2::::::",
	} {
		if got := unframe([]byte(in)); string(got) != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzPacket: whatever comes, a packet that is taken says of itself what it said, and its answers are ASCII packets that
// parse.
func FuzzPacket(f *testing.F) {
	for _, s := range []string{"0", "1::/rc", "1::/rc?a=b", "2:::", "3:1::blabla", `4:1::{"a":"b"}`, `5:1+:/rc:{"name":"subscribe","args":["*"]}`,
		`6:::4+["A","B"]`, "7:::1+0", "8::", "5::/rc:{}", `5::/rc:{"name":"a","args":[[]]}`, "\uFFFD6\uFFFD1::/rc\uFFFD3\uFFFD2::", "\uFFFD5\uFFFD3:::𝄞\uFFFD3\uFFFD2::"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		if splitPayload(b, func(p []byte) { n += len(p) }) == nil && n > len(b) {
			t.Fatalf("the packets of %q are longer than it", b)
		}
		p, err := parsePacket(b)
		if err != nil {
			return
		}
		if p.typ != b[0] || !bytes.HasSuffix(b, p.data) || !bytes.Contains(b, []byte(p.endpoint)) || p.wantData && p.id == "" {
			t.Fatalf("%q is taken for %+v", b, p)
		}
		parseEvent(p.data)
		texts([]jsonRaw{p.data})
		for _, answer := range [][]byte{
			appendPacket(nil, p.typ, p.endpoint, nil), appendAck(nil, p, []byte("[null]")), appendEvent(nil, p.endpoint, eventError, appendStrings(nil, string(p.data))),
		} {
			q, err := parsePacket(answer)
			if err != nil || q.endpoint != p.endpoint {
				t.Fatalf("%q is answered with %q, which is %+v, %v", b, answer, q, err)
			}
			if bytes.ContainsFunc(answer, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("the answer %q is not ASCII", answer)
			}
			framed := appendFramed(appendFramed(nil, answer), answer)
			var got []string
			if err := splitPayload(framed, func(p []byte) { got = append(got, string(p)) }); err != nil || !slices.Equal(got, []string{string(answer), string(answer)}) {
				t.Fatalf("%q is split into %q, %v", framed, got, err)
			}
		}
	})
}
