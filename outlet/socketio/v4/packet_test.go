package v4

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidings"
)

// packets are what the reference decoder (socket.io-parser 4.2) takes and what it refuses.
var packets = []struct {
	in   string
	want string // type, namespace, id, attachments and data; or the error
}{
	{`0`, `0 / "" 0 `},
	{`0{"token":"x"}`, `0 / "" 0 {"token":"x"}`},
	{`0/rc,`, `0 /rc "" 0 `},
	{`0/rc`, `0 /rc "" 0 `},
	{`0/rc?x=1,{}`, `0 /rc "" 0 {}`},
	{`1`, `1 / "" 0 `},
	{`1/rc,`, `1 /rc "" 0 `},
	{`2["subscribe","/a"]`, `2 / "" 0 ["subscribe","/a"]`},
	{`2/rc,["a"]`, `2 /rc "" 0 ["a"]`},
	{`212["a"]`, `2 / "12" 0 ["a"]`},
	{`2/rc,0["a",{"b":[1]}]`, `2 /rc "0" 0 ["a",{"b":[1]}]`},
	{`2[1]`, `2 / "" 0 [1]`},
	{`3/rc,7[]`, `3 /rc "7" 0 []`},
	{`4{"message":"x"}`, `4 / "" 0 {"message":"x"}`},
	{`4"x"`, `4 / "" 0 "x"`},
	{`51-["a",{"_placeholder":true,"num":0}]`, `5 / "" 1 ["a",{"_placeholder":true,"num":0}]`},
	{`62-/rc,3[1]`, `6 /rc "3" 2 [1]`},

	{``, `packet-empty`},
	{`7`, `packet-type`},
	{`x`, `packet-type`},
	{`0[]`, `packet-data`},
	{`0"x"`, `packet-data`},
	{`1{}`, `packet-data`},
	{`2`, `packet-data`},
	{`2{}`, `packet-data`},
	{`2[]`, `packet-data`},
	{`2[null]`, `packet-data`},
	{`2[["a"]]`, `packet-data`},
	{`2["a"`, `packet-data`},
	{`2["a"]x`, `packet-data`},
	{`2["connect"]`, `packet-data`},
	{`2["disconnect"]`, `packet-data`},
	{`2/rc`, `packet-data`},
	{`3`, `packet-data`},
	{`3{}`, `packet-data`},
	{`4[]`, `packet-data`},
	{`5["a"]`, `packet-attachments`},
	{`5-["a"]`, `packet-attachments`},
	{`50-["a"]`, `packet-attachments`},
	{`517-["a"]`, `packet-attachments`},
	{`5999999999999-["a"]`, `packet-attachments`},
	{`51-`, `packet-data`},
	{`21234567890123456["a"]`, `packet-id`},
	{`2/` + strings.Repeat("x", 300) + `,["a"]`, `packet-namespace`},
	{"2/\xff,[\"a\"]", `packet-namespace`},
}

func words4(p packet, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%c %s %q %d %s", p.typ, p.namespace, p.id, p.attachments, p.data)
}

func TestParsePacket(t *testing.T) {
	for _, tc := range packets {
		if got := words4(parsePacket([]byte(tc.in))); got != tc.want {
			t.Errorf("%q: got %s, want %s", tc.in, got, tc.want)
		}
	}
}

// FuzzParsePacket: what is taken has the data of its type, and written again it is the same packet.
func FuzzParsePacket(f *testing.F) {
	for _, tc := range packets {
		f.Add([]byte(tc.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := parsePacket(in)
		if err != nil {
			return
		}
		if len(p.data) > 0 && !json.Valid(p.data) {
			t.Errorf("data %q", p.data)
		}
		if p.typ == typeEvent {
			name, _, ok := parseEvent(p.data)
			if !ok || slices.Contains(reserved, name) {
				t.Errorf("an event %q", p.data)
			}
		}
		if p.attachments > maxAttachments || len(p.namespace) > maxNamespace || len(p.id) > maxID {
			t.Errorf("%+v", p)
		}
		if p.attachments > 0 {
			return
		}
		again := append(appendHead(nil, p.typ, p.namespace, p.id), p.data...)
		q, err := parsePacket(again[1:])
		if words4(q, err) != words4(p, nil) {
			t.Errorf("%q became %q: %s, want %s", in, again, words4(q, err), words4(p, nil))
		}
	})
}

// FuzzParseOffset: an offset that names a query is one that form writes.
func FuzzParseOffset(f *testing.F) {
	for _, s := range []string{"", "5f3a9c01-1042", "5f3a9c01-1042?", "5f3a9c01-1042?topic=%2Fa", "5f3a9c01-1042?topic=%2Fa&wiki=enwiki&filter=x", "5f3a9c01-1042?%zz", "x?topic=a", "5f3a9c01-1?a=b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, query, ok := parseOffset(s)
		if !ok {
			return
		}
		text := p.String()
		if len(query) > 0 {
			text += "?" + query.Encode()
		}
		again, q, ok := parseOffset(text)
		if !ok || again != p || q.Encode() != query.Encode() {
			t.Errorf("%q became %q", s, text)
		}
	})
}

// TestWords: every kind of error has its word, and an error of no kind tells nothing of itself.
func TestWords(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range append(tidings.ErrorKinds(), 0) {
		if w := words[kind]; w == "" || seen[w] {
			t.Errorf("%v is called %q", kind, w)
		}
		seen[words[kind]] = true
	}
	if len(words) != len(seen) {
		t.Errorf("%d words for %d kinds", len(words), len(seen))
	}
	if f := failureOf("x", fmt.Errorf("secret")); f.Code != "internal" || f.Detail != "" || f.Status != 500 {
		t.Errorf("%+v", f)
	}
}

func TestSplitPayload(t *testing.T) {
	var got []string
	splitPayload([]byte("4a\x1e4b\x1e"), func(p []byte) bool { got = append(got, string(p)); return true })
	if want := []string{"4a", "4b", ""}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
