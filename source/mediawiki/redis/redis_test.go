package redis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/recentchange"
	"tidings/source/mediawiki/intake/intaketest"
)

var quiet = slog.New(slog.DiscardHandler)

func change(rcid int) string {
	return fmt.Sprintf(`{"id":%d,"type":"edit","title":"P","timestamp":1700000000,"user":"U","bot":false,"server_name":"x.example","wiki":"xwiki"}`, rcid)
}

func bulk(words ...string) string { return string(appendCommand(nil, words...)) }

func pmessage(payload string) string { return bulk("pmessage", "rc.*", "rc.xwiki", payload) }

const confirmed = "*3\r\n$10\r\npsubscribe\r\n$4\r\nrc.*\r\n:1\r\n"

// server is one connection of a fake Redis.
type server struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// expect reads the commands as they stand on the wire.
func (s *server) expect(words ...string) {
	s.t.Helper()
	want := bulk(words...)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(s.r, got); err != nil || string(got) != want {
		s.t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func (s *server) send(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.conn, text); err != nil {
		s.t.Error(err)
	}
}

// world is a source before a fake Redis.
type world struct {
	*Source
	intaketest.Journal
	conns chan net.Conn
	t     *testing.T
}

func start(t *testing.T, address string, patterns ...string) (*world, func()) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, conns: make(chan net.Conn, 100)}
	w.Source, err = New(Config{URL: u, Patterns: patterns, Publisher: "redis", Log: quiet,
		Append: w.Append,
		Dial: func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			w.conns <- theirs
			return ours, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, intaketest.Run(t, w)
}

// accept returns the next connection that the source makes.
func (w *world) accept() *server {
	c := <-w.conns
	return &server{w.t, c, bufio.NewReader(c)}
}

func (w *world) keys() (keys []string) {
	for _, e := range w.Events("") {
		keys = append(keys, e.Key)
	}
	return keys
}

func TestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, "redis://user:pa%20ss@redis.example:6380/3", "rc.*", "extra.*")
		s := w.accept()
		s.expect("AUTH", "user", "pa ss")
		s.send("+OK\r\n")
		s.expect("PSUBSCRIBE", "rc.*", "extra.*")
		s.send(confirmed + pmessage(change(1)) + "*3\r\n$10\r\npsubscribe\r\n$7\r\nextra.*\r\n:2\r\n")
		s.send(pmessage(change(2)) + pmessage("") + pmessage("?") + pmessage(`{"type":"edit"}`) + pmessage(change(3)[:50]) +
			bulk("message", "x", "y") + ":5\r\n" + "*-1\r\n" + bulk("pmessage", "a", "b") + bulk("pong", "") +
			pmessage(`{"type":"edit","comment":"`+strings.Repeat("x", recentchange.MaxBytes)+`"}`) + pmessage(change(4)))
		synctest.Wait()
		if got, want := strings.Join(w.keys(), " "), "rc/xwiki/1 rc/xwiki/2 rc/xwiki/4"; got != want {
			t.Errorf("%s came", got)
		}
		e := w.Events("")[0]
		if e.Topic != "/recentchange/x.example" || e.ContentType != recentchange.TypeJSON || string(e.Payload) != change(1) || e.Publisher != "redis" || e.Mark != "" {
			t.Errorf("%+v", e)
		}
		st := w.Stats()
		want := map[string]uint64{"empty": 1, "unknown-dialect": 1, "unknown-wiki": 1, "truncated": 1, "too-large": 1, UnknownMessage: 4}
		if !maps.Equal(st.Dropped, want) || st.Messages != 8 || !st.Connected || st.Appended != 3 {
			t.Errorf("%+v", st)
		}
		stop()
	})
}

// TestConnections: passwords as they are written, refusals, connections that break or fall silent, and how long it takes
// until there is another.
func TestConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, "redis://:secret@redis.example")
		s := w.accept()
		s.expect("AUTH", "secret")
		s.send("-WRONGPASS invalid username-password pair\r\n")
		s = w.accept()
		if st := w.Stats(); st.Connected || st.Connections != 0 || st.Interruptions != 0 || !strings.Contains(st.LastError, "WRONGPASS") {
			t.Errorf("%+v", st)
		}
		s.expect("AUTH", "secret")
		s.send("+OK\r\n")
		s.expect("PSUBSCRIBE", "rc.*")
		s.send("-NOPERM this user has no permissions\r\n")
		s = w.accept()
		s.expect("AUTH", "secret")
		s.send("+OK\r\n")
		s.expect("PSUBSCRIBE", "rc.*")
		s.send(confirmed + pmessage(change(1)) + pmessage(change(2))[:40])
		s.conn.Close() // in a message

		lost := time.Now()
		s = w.accept()
		if d := time.Since(lost); d < firstRetry || d > 2*firstRetry {
			t.Errorf("the next connection came after %v", d)
		}
		s.expect("AUTH", "secret")
		s.send("+OK\r\n")
		s.expect("PSUBSCRIBE", "rc.*")
		s.send(confirmed)
		// It answers two pings and no more.
		quietSince := time.Now()
		for range 2 {
			s.expect("PING")
			s.send(bulk("pong", ""))
			quietSince = time.Now()
		}
		go io.Copy(io.Discard, s.conn)
		s = w.accept()
		if d := time.Since(quietSince); d < silence || d > silence+2*firstRetry {
			t.Errorf("the dead connection was kept for %v", d)
		}
		s.expect("AUTH", "secret")
		s.send("+OK\r\n")
		s.expect("PSUBSCRIBE", "rc.*")
		s.send(confirmed)
		synctest.Wait()
		st := w.Stats()
		if !st.Connected || st.Connections != 3 || st.Interruptions != 2 || st.Down < 2*firstRetry || st.Down > 4*firstRetry || len(w.keys()) != 1 {
			t.Errorf("%+v", st)
		}
		s.send("?what\r\n")
		s = w.accept()
		if st := w.Stats(); !strings.Contains(st.LastError, "protocol") {
			t.Errorf("%+v", st)
		}
		stop() // before anything is said
		if _, err := s.r.ReadByte(); err == nil {
			s.conn.Close()
		}
	})
}

func TestPasswordForms(t *testing.T) {
	for address, want := range map[string][]string{
		"redis://h":            {"PSUBSCRIBE", "rc.*"},
		"redis://secret@h":     {"AUTH", "secret"},
		"redis://:secret@h":    {"AUTH", "secret"},
		"redis://me:secret@h/": {"AUTH", "me", "secret"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, stop := start(t, address)
			w.accept().expect(want...)
			stop()
		})
	}
}

// TestBackoff: a server that refuses at once is not asked in a tight loop.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, "redis://h")
		end := time.After(time.Hour)
		n := 0
		for {
			select {
			case c := <-w.conns:
				n++
				c.Close()
				continue
			case <-end:
			}
			break
		}
		stop()
		if n < 110 || n > 400 {
			t.Errorf("%d connections in an hour", n)
		}
	})
}

// TestDial goes over a real socket.
func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, _ := url.Parse("redis://" + l.Addr().String())
	got := make(chan tidings.Event, 1)
	s, err := New(Config{URL: u, Publisher: "redis", Log: quiet, Append: func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
		got <- events[0]
		return make([]tidings.Appended, len(events)), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	srv := &server{t, c, bufio.NewReader(c)}
	srv.expect("PSUBSCRIBE", "rc.*")
	srv.send(confirmed + pmessage(change(9)))
	if e := <-got; e.Key != "rc/xwiki/9" {
		t.Errorf("%+v", e)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for address, ok := range map[string]bool{
		"redis://127.0.0.1": true, "rediss://r.example:6380/0": true, "redis://[::1]:6379": true,
		"http://x": false, "redis://": false, "redis:///0": false, "redis://x?db=1": false, "x": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(u); (err == nil) != ok || err != nil && tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := New(Config{}); tidings.KindOf(err) != tidings.ErrInvalid {
		t.Error(err)
	}
}

func TestProtocolErrors(t *testing.T) {
	for _, bad := range []string{
		"\r\n", "x\r\n", "$x\r\n", "$-2\r\n", "$+1\r\na\r\n", "$999999999999\r\n", "$536870913\r\n", "*65\r\n", "$1\r\nab\r\n", "+no return\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
		"+" + strings.Repeat("x", 5000) + "\r\n", "+" + strings.Repeat("x", 100<<10),
	} {
		if v, err := newReader(strings.NewReader(bad)).next(); !errors.Is(err, errProtocol) {
			t.Errorf("%.40q: %+v, %v", bad, v, err)
		}
	}
	for _, cut := range []string{"+OK", "$5\r\nab", "$5\r\nabcde", "*2\r\n:1", "*2\r\n:1\r\n$3\r\n", "$2000000\r\nxx"} {
		if v, err := newReader(strings.NewReader(cut)).next(); err != io.ErrUnexpectedEOF && err != io.EOF {
			t.Errorf("%q: %+v, %v", cut, v, err)
		}
	}
}

// write is the inverse of reader, for the fuzz test.
func (v *value) write(dst []byte) []byte {
	switch {
	case v.null:
		return append(dst, v.kind, '-', '1', '\r', '\n')
	case v.kind == '*':
		dst = fmt.Appendf(dst, "*%d\r\n", len(v.list))
		for i := range v.list {
			dst = v.list[i].write(dst)
		}
		return dst
	case v.kind == '$':
		return fmt.Appendf(dst, "$%d\r\n%s\r\n", len(v.text), v.text)
	}
	return append(append(append(dst, v.kind), v.text...), '\r', '\n')
}

func FuzzRESP(f *testing.F) {
	for _, s := range []string{confirmed, pmessage(change(1)), pmessage(""), "+OK\r\n-ERR x\r\n:5\r\n$-1\r\n*-1\r\n*0\r\n", bulk("pong", ""), "*2\r\n*1\r\n:1\r\n$3\r\na\r\n\r\n", "$5\r\nab"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newReader(bytes.NewReader(in))
		var out []byte
		for {
			v, err := r.next()
			if err != nil {
				break
			}
			out = v.write(out)
		}
		// What it has read reads the same again.
		again := newReader(bytes.NewReader(out))
		var second []byte
		for {
			v, err := again.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%q became %q: %v", in, out, err)
			}
			second = v.write(second)
		}
		if !bytes.Equal(out, second) {
			t.Fatalf("%q became %q and %q", in, out, second)
		}
	})
}
