package bridge_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/internal/transcript"
	"tidings/journal"
	"tidings/outlet"
	"tidings/outlet/xmpp/bridge"
	"tidings/recentchange"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
)

// TestTranscripts runs testdata/*.txt, in which the transcript is the server: C: is what the server says, and S: is what the
// bridge says, an element a line. The clock is that of the bubble: nothing waits for real. Beside the directives of package
// transcript they have
//
//	! open [KEY=VALUE ...]  opens the bridge: room (a room and its topics, separated by commas; several), password (of the
//	                        rooms), rate, window, max_age, max_stanza, tail (bytes that a feed of the hub keeps)
//	! server WORD           from the next login on the server offers stream management (manage), also resumes (resume), or
//	                        refuses the login (refuse, unavailable)
//	                        Its account has the name anon, and the position before anything is {{p0}}
//	! publish NAME TOPIC X  publishes X, a recent change if it is <rc>, or text; NAME becomes its position
//	! rewrite OLD NEW       replaces text in what is stored
//	! private TOPIC         nobody may read the topic from now on, and everybody any other
//	! trim                  removes what is more than an hour old below /brief
//	! wait DURATION
//	! stop                  Stop is called in the background
//	! stopped [TEXT]        it has returned nil, or an error that has the text
//	! kill                  the bridge ends without storing anything
//	! status TEXT           the figures have the text
//	! log TEXT              a line of the log has the text
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			steps, err := transcript.Parse(string(text))
			if err != nil {
				t.Fatalf("%s:%v", file, err)
			}
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				if err := f.runner().Run(steps); err != nil {
					t.Errorf("%s:%v\nlog:\n%s", file, err, f.log.String())
				}
				f.end()
			})
		})
	}
}

// public lets everybody read what is not private.
type public struct{ private atomic.Pointer[string] }

func (p *public) May(_ tidings.Actor, _ tidings.Action, t tidings.Topic) error {
	if private := p.private.Load(); private != nil && *private == string(t) {
		return tidings.Errorf(tidings.ErrForbidden, "%s is private", t)
	}
	return nil
}
func (*public) Audience(tidings.Actor) string { return "" }

// store is a Store in memory. One that is broken keeps what it has.
type store struct {
	mu     sync.Mutex
	values map[string][]byte
	broken bool
}

func (s *store) Put(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errors.New("the store is broken")
	}
	s.values[key] = value
	return nil
}

func (s *store) Watch(_ context.Context, f func(string, []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		f(key, s.values[key])
	}
	return nil
}

func (s *store) breaks(broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = broken
}

// text is a log that can be looked at while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type fixture struct {
	t       *testing.T
	journal *journal.Memory
	hub     *hub.Hub
	access  public
	tail    int
	store   *store
	log     text
	bridge  *bridge.Bridge
	stopped chan error
	ends    chan net.Conn // the server's ends of connections
	login   string        // what the server does at a login
	servers []*lines
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, store: &store{values: map[string][]byte{}}, stopped: make(chan error, 1), ends: make(chan net.Conn)}
	f.journal = journal.NewMemory(journal.Options{TrimInterval: -1, Retention: []journal.Retention{{Prefix: "/brief", Age: time.Hour}}})
	return f
}

// start makes the hub, and the options of a bridge in it.
func (f *fixture) start() {
	if f.hub != nil {
		return
	}
	f.hub = hub.New(f.journal, &f.access, hub.Options{Decode: outlet.Decoder(recentchange.Wikis{"acme": {ServerURL: "http://acme"}}), FeedTail: f.tail})
}

func (f *fixture) end() {
	if f.bridge != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		f.bridge.Stop(ctx)
	}
	for _, s := range f.servers {
		s.Close()
	}
	if f.hub != nil {
		f.hub.Close()
	}
	f.journal.Close()
}

func (f *fixture) runner() *transcript.Runner {
	return &transcript.Runner{
		Dial: f.accept,
		Vars: map[string]string{"p0": f.journal.Head().String()},
		Do: map[string]func(map[string]string, string) error{
			"open":    f.open,
			"server":  func(_ map[string]string, word string) error { f.login = word; return nil },
			"publish": f.publish,
			"wait": func(_ map[string]string, text string) error {
				d, err := time.ParseDuration(text)
				time.Sleep(d) // of the bubble
				synctest.Wait()
				return err
			},
			"stop": func(map[string]string, string) error {
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					defer cancel()
					f.stopped <- f.bridge.Stop(ctx)
				}()
				return nil
			},
			"stopped": func(_ map[string]string, text string) error {
				err := <-f.stopped
				if err == nil && text != "" || err != nil && (text == "" || !strings.Contains(err.Error(), text)) {
					return fmt.Errorf("it has returned %v", err)
				}
				return nil
			},
			"rewrite": func(_ map[string]string, argument string) error {
				from, to, _ := strings.Cut(argument, " ")
				f.store.mu.Lock()
				defer f.store.mu.Unlock()
				for key, value := range f.store.values {
					f.store.values[key] = bytes.ReplaceAll(value, []byte(from), []byte(to))
				}
				return nil
			},
			"private": func(_ map[string]string, topic string) error {
				f.access.private.Store(&topic)
				f.hub.Recheck()
				return nil
			},
			"trim": func(map[string]string, string) error {
				_, err := f.journal.Trim(context.Background(), time.Now())
				return err
			},
			"kill": func(map[string]string, string) error {
				f.store.breaks(true)
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				f.bridge.Stop(ctx)
				f.store.breaks(false)
				return nil
			},
			"status": func(_ map[string]string, text string) error {
				time.Sleep(1100 * time.Millisecond) // of the bubble: the rooms are told each second
				synctest.Wait()
				if s := fmt.Sprintf("%+v", f.bridge.Stats()); !strings.Contains(s, text) {
					return fmt.Errorf("the figures are %s", s)
				}
				return nil
			},
			"log": func(_ map[string]string, text string) error {
				synctest.Wait()
				if !strings.Contains(f.log.String(), text) {
					return fmt.Errorf("the log does not have it")
				}
				return nil
			},
		},
	}
}

func (f *fixture) open(_ map[string]string, argument string) error {
	o := bridge.Options{Store: f.store, Name: "test", Nick: "bot", Rate: 1000, Log: slog.New(slog.NewTextHandler(&f.log, nil))}
	password := ""
	for word := range strings.FieldsSeq(argument) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "room":
			name, topics, _ := strings.Cut(value, ",")
			r := bridge.Room{Address: name}
			if topics != "" {
				if r.Patterns, err = outlet.Patterns(strings.Split(topics, ","), 10); err != nil {
					return err
				}
			}
			o.Rooms = append(o.Rooms, r)
		case "password":
			password = value
		case "rate":
			o.Rate, err = strconv.ParseFloat(value, 64)
		case "window":
			o.Window, err = strconv.Atoi(value)
		case "max_age":
			o.MaxAge, err = time.ParseDuration(value)
		case "max_stanza":
			o.MaxStanza, err = strconv.Atoi(value)
		case "tail":
			f.tail, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("what is %s?", word)
		}
		if err != nil {
			return err
		}
	}
	for i := range o.Rooms {
		o.Rooms[i].Password = password
	}
	f.start()
	o.Hub = f.hub
	o.Dial = dial.Config{JID: jid.MustParse("example.org"), Plaintext: true, Address: "x", DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case f.ends <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	var err error
	f.bridge, err = bridge.Open(context.Background(), o)
	return err
}

func (f *fixture) publish(vars map[string]string, argument string) error {
	name, rest, _ := strings.Cut(argument, " ")
	topic, payload, _ := strings.Cut(rest, " ")
	e := tidings.Event{Topic: tidings.Topic(topic), ContentType: "text/plain", Payload: []byte(payload)}
	if strings.HasPrefix(payload, "<rc ") {
		e.ContentType = recentchange.TypeRC
	}
	if n, ok := strings.CutPrefix(payload, "bytes:"); ok {
		size, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		e.Payload = bytes.Repeat([]byte("x"), size)
	}
	f.start()
	r, err := f.journal.Append(context.Background(), e)
	if err != nil {
		return err
	}
	vars[name] = r[0].Position.String()
	return f.hub.Drain(context.Background())
}

// accept takes the bridge's next connection and does the server's part of the login.
func (f *fixture) accept() (net.Conn, error) {
	select {
	case nc := <-f.ends:
		l := newLines(nc)
		f.servers = append(f.servers, l)
		return l, f.logIn(l)
	case <-time.After(10 * time.Minute):
		return nil, errors.New("the bridge does not connect")
	}
}

const header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='example.org' id='s' version='1.0'>"

func (f *fixture) logIn(l *lines) error {
	converse := []struct{ expect, answer string }{
		{"<stream:stream", header + "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>"},
		{"<auth", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"},
		{"<stream:stream", header + "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>"},
		{"<iq", "<iq type='result' id='%s'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>anon@example.org/tidings</jid></bind></iq>"},
	}
	switch {
	case f.login == "refuse" || f.login == "unavailable":
		why := map[string]string{"refuse": "not-authorized", "unavailable": "temporary-auth-failure"}[f.login]
		converse[1].answer = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><" + why + "/></failure>"
		converse = converse[:2]
	case strings.HasPrefix(f.login, "resume"):
		_, h, _ := strings.Cut(f.login, " ")
		converse[3] = struct{ expect, answer string }{"<resume", "<resumed xmlns='urn:xmpp:sm:3' previd='m' h='" + cmp.Or(h, "0") + "'/>"}
	case f.login == "manage":
		converse = append(converse, struct{ expect, answer string }{"<enable", "<enabled xmlns='urn:xmpp:sm:3' id='m' resume='true'/>"})
	default:
		converse[2].answer = strings.Replace(converse[2].answer, "<sm xmlns='urn:xmpp:sm:3'/>", "", 1)
	}
	for _, c := range converse {
		l.SetDeadline(time.Now().Add(transcript.Patience))
		line, err := l.line()
		if err != nil {
			return fmt.Errorf("at the login: %w", err)
		}
		if !strings.HasPrefix(line, c.expect) && !strings.Contains(line, c.expect) {
			return fmt.Errorf("at the login want %s, got %s", c.expect, line)
		}
		answer := c.answer
		if c.expect == "<iq" {
			_, id, _ := strings.Cut(line, "id='")
			id, _, _ = strings.Cut(id, "'")
			answer = fmt.Sprintf(answer, id)
		}
		if _, err := io.WriteString(l.Conn, answer); err != nil {
			return err
		}
	}
	return nil
}

// lines is the server's end: what is read from it is one element a line. It reads on by itself, as a network would, and
// answers the pings of package dial.
type lines struct {
	net.Conn
	in       chan string
	done     chan struct{}
	rest     []byte
	deadline time.Time
}

func newLines(nc net.Conn) *lines {
	l := &lines{Conn: nc, in: make(chan string, 10_000), done: make(chan struct{})}
	go l.read()
	return l
}

func (l *lines) read() {
	defer close(l.done)
	defer close(l.in)
	var scan xmlstream.Scanner
	b := make([]byte, 4096)
	for {
		kind, raw, err := scan.Next()
		switch {
		case err != nil:
			l.in <- "broken: " + err.Error()
			return
		case kind == xmlstream.None:
			n, err := l.Conn.Read(b)
			if n == 0 && err != nil {
				return
			}
			if in := b[:n]; bytes.HasPrefix(in, []byte("<?xml")) {
				scan.Reset() // after the login a new stream begins
			}
			scan.Feed(bytes.Clone(b[:n]))
		case kind == xmlstream.End:
			l.in <- "</stream:stream>"
		case bytes.HasPrefix(raw, []byte("<iq to='example.org' type='get' id='ping'>")): // whether the connection is alive
			_ = l.SetWriteDeadline(time.Time{})                                               // that of a step is long over
			_, _ = io.WriteString(l.Conn, "<iq from='example.org' type='result' id='ping'/>") // it may be closed
		default:
			l.in <- string(raw)
		}
	}
}

func (l *lines) SetDeadline(t time.Time) error {
	l.deadline = t
	return l.SetWriteDeadline(t)
}

func (l *lines) line() (string, error) {
	select {
	case s, ok := <-l.in:
		if !ok {
			return "", io.EOF
		}
		return s, nil
	case <-time.After(time.Until(l.deadline)):
		return "", os.ErrDeadlineExceeded
	}
}

func (l *lines) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		s, err := l.line()
		if err != nil {
			return 0, err
		}
		l.rest = []byte(s + "\r\n")
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (l *lines) Close() error {
	err := l.Conn.Close()
	<-l.done
	return err
}
