package sse

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"tidings"
)

// drain returns all messages, the last id and the error that ended them, io.EOF excepted.
func drain(r io.Reader, limit int) ([]Message, *Decoder, error) {
	d := NewDecoder(r, limit, "")
	var all []Message
	for {
		m, err := d.Next()
		if err == io.EOF {
			return all, d, nil
		}
		if err != nil {
			return all, d, err
		}
		all = append(all, m)
	}
}

func TestDecoder(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []Message
		lastID   string
		retry    time.Duration
	}{
		{"nothing", "", nil, "", -1},
		{"comments", ":ok\n\n:\n\n: keepalive\n\n", nil, "", -1},
		{"one", "event: message\nid: 5f3a9c01-1\ndata: {}\n\n", []Message{{"5f3a9c01-1", "message", []byte("{}")}}, "5f3a9c01-1", -1},
		{"default type", "data: a\n\n", []Message{{"", "message", []byte("a")}}, "", -1},
		{"lines", "data: a\ndata\ndata:b\ndata:  c\n\n", []Message{{"", "message", []byte("a\n\nb\n c")}}, "", -1},
		{"empty data", "data:\n\n", []Message{{"", "message", []byte{}}}, "", -1},
		{"carriage returns", "data: a\rdata: b\r\rdata: c\r\n\r\n", []Message{{"", "message", []byte("a\nb")}, {"", "message", []byte("c")}}, "", -1},
		{"byte order mark", "\ufeffdata: a\n\n", []Message{{"", "message", []byte("a")}}, "", -1},
		{"second byte order mark is a field", "\ufeffdata: a\n\n\ufeffdata: b\n\n", []Message{{"", "message", []byte("a")}}, "", -1},
		{"id stays", "id: 1\ndata: a\n\ndata: b\n\n", []Message{{"1", "message", []byte("a")}, {"1", "message", []byte("b")}}, "1", -1},
		{"id without data", "id: 7\n\n", nil, "7", -1},
		{"id reset", "id: 7\ndata: a\n\nid\ndata: b\n\n", []Message{{"7", "message", []byte("a")}, {"", "message", []byte("b")}}, "", -1},
		{"id with control characters", "id: 1\n\nid: 2\x00\n\nid: 3\x01\n\n", nil, "1", -1},
		{"type without data", "event: x\n\ndata: a\n\n", []Message{{"", "message", []byte("a")}}, "", -1},
		{"unknown fields", "foo: bar\nDATA: x\n data: y\ndata : z\ndata: a\n\n", []Message{{"", "message", []byte("a")}}, "", -1},
		{"cut off", "id: 1\ndata: a\n\nid: 2\ndata: b\n", []Message{{"1", "message", []byte("a")}}, "1", -1},
		{"cut off in a line", "id: 1\ndata: a\n\nid: 2\ndata: b", []Message{{"1", "message", []byte("a")}}, "1", -1},
		{"retry", "retry: 2500\n\n", nil, "", 2500 * time.Millisecond},
		{"bad retry", "retry: 2500\nretry: -1\nretry: 1.5\nretry: x\nretry\n\n", nil, "", 2500 * time.Millisecond},
		{"huge retry", "retry: 9223372036854775807\n\n", nil, "", time.Hour},
		{"retry past int64", "retry: 1\nretry: 99999999999999999999\n\n", nil, "", time.Millisecond},
	} {
		for _, r := range []io.Reader{strings.NewReader(tc.in), iotest.OneByteReader(strings.NewReader(tc.in)), iotest.DataErrReader(strings.NewReader(tc.in))} {
			got, d, err := drain(r, 1<<10)
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			if !sameMessages(got, tc.want) || d.LastID != tc.lastID || d.Retry != tc.retry {
				t.Errorf("%s: %q, last id %q, retry %v; want %q, %q, %v", tc.name, got, d.LastID, d.Retry, tc.want, tc.lastID, tc.retry)
			}
		}
	}
}

func sameMessages(a, b []Message) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].ID != b[i].ID || a[i].Type != b[i].Type || !bytes.Equal(a[i].Data, b[i].Data) {
			return false
		}
	}
	return true
}

// A message has come when its last byte has: the decoder does not wait for what may follow a carriage return.
func TestDecoderDoesNotWait(t *testing.T) {
	r, w := io.Pipe()
	d := NewDecoder(r, 1<<10, "")
	got := make(chan Message)
	go func() {
		for {
			m, err := d.Next()
			if err != nil {
				close(got)
				return
			}
			got <- m
		}
	}()
	for _, s := range []string{"data: a\r\r", "data: b\n\n", "data: c\r\n\r\n"} {
		if _, err := io.WriteString(w, s); err != nil {
			t.Fatal(err)
		}
		if m := <-got; string(m.Data) != s[6:7] {
			t.Errorf("%q gives %q", s, m.Data)
		}
	}
	w.Close()
	if m, open := <-got; open {
		t.Errorf("one more message: %q", m)
	}
}

func TestDecoderComments(t *testing.T) {
	d := NewDecoder(strings.NewReader(":ok\n\n: a\ndata: x:\n:\n\n::\n\n"), 1<<10, "")
	n := 0
	d.Comment = func() { n++ }
	if m, err := d.Next(); err != nil || string(m.Data) != "x:" || n != 3 {
		t.Errorf("%q, %v, %d comments", m.Data, err, n)
	}
	if _, err := d.Next(); err != io.EOF || n != 4 {
		t.Errorf("%v, %d comments", err, n)
	}
}

func TestDecoderLimits(t *testing.T) {
	const limit = 1000
	for _, tc := range []struct {
		name, in string
		ok       bool
	}{
		{"data at the limit", "data: " + strings.Repeat("x", limit-1) + "\n\n", true},
		{"data over it", "data: " + strings.Repeat("x", limit) + "\n\n", false},
		{"many lines over it", strings.Repeat("data\n", limit+1) + "\n", false},
		{"many messages", strings.Repeat("data: xxxxxxxxxxxxxxxxxxxx\n\n", limit), true},
		{"endless line", strings.Repeat("y", 100*limit), false},
		{"endless comment", ":" + strings.Repeat("y", 100*limit), false},
	} {
		_, _, err := drain(strings.NewReader(tc.in), limit)
		if tc.ok && err != nil || !tc.ok && tidings.KindOf(err) != tidings.ErrTooLarge {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for _, s := range []string{
		":ok\n\nretry: 2000\n\nid: 5f3a9c01-1\nevent: message\ndata: {\"a\":1}\n\n",
		"event: gap\nid: 5f3a9c01-9\ndata: {\"asked\":\"5f3a9c01-1\",\"oldest\":\"5f3a9c01-9\"}\n\n",
		"\ufeffdata: a\r\ndata: b\rdata\n\r\n\r\n",
		"id: [{\"topic\":\"5f3a9c01.mediawiki.recentchange\",\"partition\":0,\"offset\":1043}]\ndata: x\n\n",
		"id: 1\x00\nretry: 99999999999999999999\ndata",
		"\n\n\n:\r\r\r",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 200
		got, d, err := drain(bytes.NewReader(in), limit)
		slow, ds, errSlow := drain(iotest.OneByteReader(bytes.NewReader(in)), limit)
		if !sameMessages(got, slow) || d.LastID != ds.LastID || d.Retry != ds.Retry || (err == nil) != (errSlow == nil) {
			t.Fatalf("%q depends on how it is cut: %q, %v or %q, %v", in, got, err, slow, errSlow)
		}
		if err != nil && tidings.KindOf(err) != tidings.ErrTooLarge {
			t.Fatalf("%q: %v", in, err)
		}
		for _, m := range got {
			if len(m.Data) >= limit || m.Type == "" || strings.ContainsAny(m.ID, "\x00\r\n") || bytes.IndexByte(m.Data, '\r') >= 0 {
				t.Fatalf("%q gives %q", in, m)
			}
		}
	})
}
