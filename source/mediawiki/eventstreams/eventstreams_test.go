package eventstreams

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/recentchange"
	"tidings/source/mediawiki/intake/intaketest"
)

var quiet = slog.New(slog.DiscardHandler)

const changes = "/recentchange/x.example"

func config(u http.RoundTripper, j *intaketest.Journal) Config {
	at, _ := url.Parse("https://stream.example.org/v2/stream/recentchange")
	c := Config{URL: at, UserAgent: "tidings/test", Publisher: "upstream", Append: j.Append, HTTP: &http.Client{Transport: u}, Log: quiet}
	c.Mark, c.Stored = j.Last()
	return c
}

func run(t *testing.T, c Config) (s *Source, stop func()) {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s, intaketest.Run(t, s)
}

// TestEachEventOnce reads a stream of two topics whose connections break anywhere, whose ids pass over messages of the
// same millisecond, and which has canaries; the source is restarted at random, some times in the middle of an Append.
func TestEachEventOnce(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 3))
				u := newUpstream()
				u.random = rand.New(rand.NewPCG(seed, 4))
				j := &intaketest.Journal{}
				c := config(u, j)
				begin := time.Now()
				c.Begin = begin
				_, stop := run(t, c)
				rcid, canaries := 0, 0
				write := func() {
					topic := eqiad
					if rcid > 300 && random.IntN(3) == 0 { // the second topic begins late
						topic = codfw
					}
					if random.IntN(10) == 0 {
						canaries++
						u.add(topic, "CANARY")
						return
					}
					rcid++
					u.change(topic, rcid)
				}
				for range 40 {
					for range random.IntN(40) {
						for range 1 + random.IntN(3) { // in the same millisecond
							write()
						}
						time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
					}
					if random.IntN(4) == 0 {
						if random.IntN(2) == 0 {
							j.Die(func(events int) int { return events / 2 })
							time.Sleep(time.Duration(random.IntN(10)) * time.Second)
						}
						stop()
						j.Die(nil)
						for range random.IntN(50) {
							write()
							time.Sleep(time.Duration(random.IntN(10)) * time.Second)
						}
						next := config(u, j)
						next.Begin = begin
						_, stop = run(t, next)
					}
				}
				u.mu.Lock()
				u.random = nil
				u.mu.Unlock()
				time.Sleep(10 * time.Minute)
				stop()
				times := map[string]int{}
				for _, e := range j.Events(changes) {
					times[e.Key]++
					if e.ContentType != recentchange.TypeEventStreams || e.Publisher != "upstream" {
						t.Fatalf("%+v", e)
					}
				}
				for i := 1; i <= rcid; i++ {
					if n := times[fmt.Sprintf("rc/xwiki/%d", i)]; n != 1 {
						t.Errorf("change %d of %d came %d times", i, rcid, n)
					}
				}
				if len(j.Events(GapTopic)) > 0 {
					t.Error("there was no gap, and one is recorded")
				}
				t.Logf("%d changes, %d canaries, %d connections", rcid, canaries, len(u.requests))
			})
		})
	}
}

// scripted is an upstream whose connections bring the given texts, each followed by silence until it is closed.
type scripted struct {
	*upstream
	texts []string
	every string // sent each interval after that
	beat  time.Duration
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.requests)
	s.requests = append(s.requests, r)
	s.times = append(s.times, time.Now())
	pr, pw := io.Pipe()
	go func() {
		if n < len(s.texts) {
			io.WriteString(pw, s.texts[n])
		}
		for s.beat > 0 && n < len(s.texts) {
			select {
			case <-time.After(s.beat):
				io.WriteString(pw, s.every)
				if n > 0 {
					continue
				}
				// The first connection falls silent after some of them.
				if s.times[0].Add(10 * s.beat).Before(time.Now()) {
					<-r.Context().Done()
					pw.CloseWithError(r.Context().Err())
					return
				}
			case <-r.Context().Done():
				pw.CloseWithError(r.Context().Err())
				return
			}
		}
		<-r.Context().Done()
		pw.CloseWithError(r.Context().Err())
	}()
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: pr}, nil
}

// TestSilence asserts when a connection is given up: after two minutes without a byte, or after three of the keepalives
// that the server sends.
func TestSilence(t *testing.T) {
	for name, tc := range map[string]struct {
		beat  time.Duration
		after time.Duration // from the last byte
	}{
		"from the start": {0, 2 * time.Minute},
		"keepalives":     {15 * time.Second, 45 * time.Second},
		"rare ones":      {time.Minute, 2 * time.Minute},
		"many":           {time.Second, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &scripted{upstream: newUpstream(), texts: []string{":ok\n\n", ":ok\n\n"}, every: ":\n\n", beat: tc.beat}
				s, stop := run(t, config(u, &intaketest.Journal{}))
				time.Sleep(30 * time.Minute)
				got := s.Stats()
				stop()
				if len(u.times) < 2 {
					t.Fatal("the dead connection was kept")
				}
				last := u.times[0]
				if tc.beat > 0 {
					last = last.Add(11 * tc.beat)
				}
				if d := u.times[1].Sub(last); d < tc.after || d > tc.after+3*time.Second {
					t.Errorf("given up after %v, want %v", d, tc.after)
				}
				if tc.beat > 0 && (len(u.times) != 2 || got.Silences != 1 || !got.Connected) {
					t.Errorf("the connection with keepalives was given up too: %d, %+v", len(u.times), got)
				}
			})
		})
	}
}

func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &scripted{upstream: newUpstream(), texts: []string{
			":ok\n\nevent: gap\nid: [{\"topic\":\"5f3a9c01.mediawiki.recentchange\",\"partition\":0,\"offset\":900}]\ndata: {\"asked\":\"5f3a9c01-5\",\"oldest\":\"5f3a9c01-899\"}\n\n" +
				"event: odd\ndata: x\n\ndata: {\n\ndata: {\"type\":\"edit\"}\n\nevent: error\ndata: {\"message\":\"bye\"}\n\n",
		}}
		j := &intaketest.Journal{}
		j.Begin(`1700000000000 [{"topic":"5f3a9c01.mediawiki.recentchange","partition":0,"offset":6}]`)
		s, stop := run(t, config(u, j))
		time.Sleep(5 * time.Minute)
		got := s.Stats()
		stop()
		if id := u.requests[0].Header.Get("Last-Event-ID"); id != `[{"topic":"5f3a9c01.mediawiki.recentchange","partition":0,"offset":6}]` {
			t.Errorf("asked for %s", id)
		}
		if id := u.requests[1].Header.Get("Last-Event-ID"); id != `[{"topic":"5f3a9c01.mediawiki.recentchange","partition":0,"offset":900}]` {
			t.Errorf("then asked for %s", id)
		}
		gaps := j.Events(GapTopic)
		if len(gaps) != 1 || got.Gaps != 1 || got.LastGap == nil || got.LastGap.Oldest != "5f3a9c01-899" {
			t.Fatalf("%d gaps recorded, %+v", len(gaps), got)
		}
		var g Gap
		if err := json.Unmarshal(gaps[0].Payload, &g); err != nil || g.Asked != "5f3a9c01-5" || g.Source != "upstream" || gaps[0].Key == "" {
			t.Errorf("%s %v", gaps[0].Payload, err)
		}
		if want := map[string]uint64{UnknownMessage: 1, "truncated": 1, "unknown-wiki": 1}; !maps.Equal(got.Dropped, want) {
			t.Errorf("dropped %v, want %v", got.Dropped, want)
		}
	})
}

// TestPlaceRefused: an upstream that knows the place no more is asked by time, and that is a gap.
func TestPlaceRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpstream()
		u.refuse = func(r *http.Request) *http.Response {
			if r.Header.Get("Last-Event-ID") != "" && len(u.requests) < 3 {
				return answer(404, `{"message":"topic not available"}`)
			}
			return nil
		}
		at := time.Now()
		u.change(eqiad, 1)
		time.Sleep(time.Minute)
		u.change(eqiad, 2)
		j := &intaketest.Journal{}
		j.Begin(fmt.Sprintf(`%d [{"topic":"other","partition":0,"offset":6}]`, at.Add(time.Second).UnixMilli()))
		c := config(u, j)
		c.Begin = at.Add(-time.Hour)
		s, stop := run(t, c)
		time.Sleep(time.Minute)
		got := s.Stats()
		stop()
		if since := u.requests[1].URL.Query().Get("since"); since != fmt.Sprint(at.Add(time.Second).UnixMilli()) {
			t.Errorf("asked since %s", since)
		}
		if all := j.Events(changes); len(all) != 1 || all[0].Key != "rc/xwiki/2" || len(j.Events(GapTopic)) != 1 || got.Gaps != 1 {
			t.Errorf("%v, %+v", all, got)
		}
	})
}

// TestBusy asserts that a server which refuses is not asked too often, and what a request says.
func TestBusy(t *testing.T) {
	for name, tc := range map[string]struct {
		answer      func() *http.Response
		least, most int // requests in an hour
	}{
		"too many": {func() *http.Response { return answer(429, "") }, 25, 80},
		"later":    {func() *http.Response { return answer(503, "", "Retry-After", "300") }, 8, 13},
		"who":      {func() *http.Response { return answer(403, "") }, 25, 120},
		"no stream": {func() *http.Response {
			return answer(200, "<html>", "Content-Type", "text/html")
		}, 25, 120},
		"empty": {func() *http.Response { return answer(200, ":ok\n\n", "Content-Type", "text/event-stream") }, 25, 120},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUpstream()
				u.refuse = func(*http.Request) *http.Response { return tc.answer() }
				c := config(u, &intaketest.Journal{})
				c.Token = "secret"
				s, stop := run(t, c)
				time.Sleep(time.Hour)
				got := s.Stats()
				stop()
				if n := len(u.requests); n < tc.least || n > tc.most {
					t.Errorf("%d requests in an hour, want %d to %d", n, tc.least, tc.most)
				}
				if got.LastError == "" || got.Connected {
					t.Errorf("%+v", got)
				}
				h := u.requests[0].Header
				if h.Get("User-Agent") != "tidings/test" || h.Get("Accept") != "text/event-stream" || h.Get("Authorization") != "Bearer secret" {
					t.Errorf("%v", h)
				}
			})
		})
	}
}

// TestJournalSlow asserts that a journal which is down costs nothing: the upstream waits.
func TestJournalSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, j := newUpstream(), &intaketest.Journal{}
		back := time.Now().Add(time.Hour)
		c := config(u, j)
		c.Append = func(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
			if time.Now().Before(back) {
				return nil, tidings.Errorf(tidings.ErrUnavailable, "no disk")
			}
			return j.Append(ctx, events...)
		}
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		s.queue = s.intake.NewQueue(20_000)
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { s.Run(ctx) })
		for i := range 500 {
			u.change(eqiad, i+1)
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Hour)
		cancel()
		done.Wait()
		if n := len(j.Events(changes)); n != 500 || len(s.Stats().Dropped) > 0 {
			t.Errorf("%d changes of 500, %+v", n, s.Stats())
		}
	})
}

func TestPlace(t *testing.T) {
	offset := func(n int64) *int64 { return &n }
	at := time.UnixMilli(1_700_000_000_123).UTC()
	for _, tc := range []struct {
		name, before, id string
		o                origin
		want             string
	}{
		{"timestamp and offset", "", `[{"topic":"a","partition":0,"timestamp":5},{"topic":"b","partition":0,"timestamp":7}]`, origin{Topic: "a", Offset: offset(41), Time: at},
			`[{"topic":"a","partition":0,"offset":42},{"topic":"b","partition":0,"timestamp":7}]`},
		{"what is known better stays", `0 [{"topic":"a","partition":0,"offset":3},{"topic":"b","partition":0,"offset":9}]`, `[{"topic":"a","partition":0,"timestamp":5},{"topic":"b","partition":0,"timestamp":7}]`,
			origin{Topic: "a", Offset: offset(41), Time: at}, `[{"topic":"a","partition":0,"offset":42},{"topic":"b","partition":0,"offset":9}]`},
		{"nothing came of one", "", `[{"topic":"a","partition":0,"timestamp":5},{"topic":"b","partition":0,"offset":-1}]`, origin{Topic: "a", Offset: offset(41), Time: at},
			`[{"topic":"a","partition":0,"offset":42},{"topic":"b","partition":0,"timestamp":1699999940123}]`},
		{"no meta", "", `[{"topic":"a","partition":0,"offset":5}]`, origin{}, `[{"topic":"a","partition":0,"offset":5}]`},
		{"another partition", "", `[{"topic":"a","partition":1,"offset":5}]`, origin{Topic: "a", Offset: offset(41)}, `[{"topic":"a","partition":1,"offset":5}]`},
		{"no array", "", `5f3a9c01-7`, origin{Time: at}, `5f3a9c01-7`},
		{"too many", "", `[` + strings.Repeat(`{"topic":"a"},`, 16) + `{"topic":"b"}]`, origin{}, `[` + strings.Repeat(`{"topic":"a"},`, 16) + `{"topic":"b"}]`},
	} {
		var p place
		if tc.before != "" {
			var err error
			if p, err = parseMark(tc.before); err != nil {
				t.Fatal(err)
			}
		}
		p.advance(tc.id, tc.o)
		if got := p.id(); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
		again, err := parseMark(p.mark())
		if err != nil || again.id() != p.id() || !again.time.Equal(p.time.Truncate(time.Millisecond)) {
			t.Errorf("%s: %q came back as %+v, %v", tc.name, p.mark(), again, err)
		}
	}
	p := place{raw: strings.Repeat("x", 5000)}
	if m := p.mark(); m != "" {
		t.Errorf("a mark of %d bytes", len(m))
	}
	for _, bad := range []string{"", "x", "x [1]", "5"} {
		if _, err := parseMark(bad); tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzPlace(f *testing.F) {
	f.Add(`1700000000000 [{"topic":"a","partition":0,"offset":3}]`, `[{"topic":"a","partition":0,"timestamp":5},{"topic":"b","partition":0,"offset":-1}]`, "a", int64(7))
	f.Add(`0 5f3a9c01-7`, "", "", int64(-1))
	f.Add("-62135596800000 ", `[null,{"offset":9223372036854775807}]`, "x", int64(9223372036854775807))
	f.Fuzz(func(t *testing.T, mark, id, topic string, offset int64) {
		p, err := parseMark(mark)
		if err != nil {
			return
		}
		p.advance(id, origin{Topic: topic, Offset: &offset, Time: time.UnixMilli(offset % 1e12)})
		m := p.mark()
		if m == "" {
			return
		}
		again, err := parseMark(m)
		if err != nil || again.mark() != m {
			t.Fatalf("%q came back as %q, %v", m, again.mark(), err)
		}
	})
}

func TestNew(t *testing.T) {
	for _, bad := range []*url.URL{nil, {Scheme: "ftp", Host: "x"}, {Scheme: "http"}} {
		if _, err := New(Config{URL: bad}); tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if s, err := New(Config{URL: &url.URL{Scheme: "http", Host: "x"}, Mark: "what", Log: quiet}); err != nil || s.place.id() != "" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestRecent(t *testing.T) {
	var r recent
	for i := range 3 * remembered {
		if !r.add(fmt.Sprint(i)) || r.add(fmt.Sprint(i)) {
			t.Fatal(i)
		}
	}
	if len(r.keys) != remembered || len(r.ring) != remembered || !r.add("0") || r.add(fmt.Sprint(3*remembered-2)) {
		t.Errorf("%d keys", len(r.keys))
	}
}
