package poll

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/recentchange"
	"tidings/source/mediawiki/intake/intaketest"
)

var quiet = slog.New(slog.DiscardHandler)

// rcids returns the rcids that have come.
func rcids(t *testing.T, j *intaketest.Journal) []int64 {
	t.Helper()
	var ids []int64
	for _, e := range j.Events("") {
		id, err := rcid(e.Payload)
		if err != nil || e.Key != fmt.Sprintf("rc/xwiki/%d", id) || e.Topic != "/recentchange/wiki.example.org" || e.Publisher != "poll" {
			t.Fatalf("%+v, %v", e, err)
		}
		ids = append(ids, id)
	}
	return ids
}

func config(f http.RoundTripper, j *intaketest.Journal) Config {
	u, _ := url.Parse("https://wiki.example.org/w/api.php")
	c := Config{
		API: u, UserAgent: "tidings/test (ops@example.org)", Interval: 10 * time.Second, Overlap: 30 * time.Second, Late: 5 * time.Minute, MaxLag: 5 * time.Second,
		Publisher: "poll", Append: j.Append, HTTP: &http.Client{Transport: f}, Log: quiet,
	}
	c.Mark, c.Stored = j.Last()
	return c
}

// run starts a poller; stop ends it.
func run(t *testing.T, c Config) (p *Poller, stop func()) {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p, intaketest.Run(t, p)
}

// TestEachChangeOnce lets a wiki do all that hurts pollers, restarts the poller at random points, some of them in the
// middle of an Append and some for longer than any window, and asks for every change once.
func TestEachChangeOnce(t *testing.T) {
	seeds := 8
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { eachChangeOnce(t, rand.New(rand.NewPCG(uint64(seed), 1))) })
		})
	}
}

func eachChangeOnce(t *testing.T, random *rand.Rand) {
	const second = time.Second
	f := &fakeWiki{limit: 20 + random.IntN(80), skew: time.Duration(random.IntN(240)-120) * second}
	chance := func(n int) bool { return random.IntN(n) == 0 }
	var calm atomic.Bool
	trouble := rand.New(rand.NewPCG(random.Uint64(), 2)) // the transport's own
	f.trouble = func(r *http.Request) (*http.Response, error) {
		if calm.Load() || trouble.IntN(6) > 0 {
			return nil, nil
		}
		switch trouble.IntN(7) {
		case 0:
			return respond(200, `{"error":{"code":"maxlag","info":"Waiting for 10.0.0.1: 8.5 seconds lagged.","host":"10.0.0.1","lag":8.5}}`, "Retry-After", "5"), nil
		case 1: // the JSON is cut
			whole := f.answer(r.URL.Query())
			return respond(200, whole[:len(whole)*3/4]), nil
		case 2:
			return respond(503, "<html>", "Retry-After", "20"), nil
		case 3:
			return respond(429, `{"error":{"code":"ratelimited","info":"wait"}}`), nil
		case 4:
			return nil, errReset
		case 5: // the connection breaks in the body
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(io.MultiReader(strings.NewReader(`{"query":`), errReader{}))}, nil
		}
		return respond(200, `{"error":{"code":"internal_api_error_DBQueryError","info":"[x] Caught exception"}}`), nil
	}
	nextID := int64(1000)
	write := func() {
		n := 1
		if random.IntN(20) == 0 { // more than a page in one second
			n = f.limit + random.IntN(f.limit)
		}
		now := time.Now()
		for range n {
			nextID += 1 + int64(random.IntN(3)) // those between were rolled back
			c := change{id: nextID, at: now.Add(f.skew).Unix(), visible: now}
			switch random.IntN(8) {
			case 0: // a long transaction: its time is old when it is committed
				c.at -= int64(random.IntN(60))
				c.visible = now.Add(time.Duration(random.IntN(100)) * second)
			case 1: // a replica that lags
				c.visible = now.Add(time.Duration(random.IntN(170)) * second)
			}
			f.add(c)
		}
	}

	j := &intaketest.Journal{}
	c := config(f, j)
	c.Begin = time.Now()
	p, stop := run(t, c)
	time.Sleep(2 * time.Minute) // the first changes have the time of an earlier start
	for range 25 {
		for range random.IntN(30) {
			write()
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		}
		if chance(4) { // ends; in one of two times within an Append that stores a part
			if chance(2) {
				kept := random.IntN(20)
				j.Die(func(events int) int { return min(kept, events) })
				time.Sleep(time.Duration(random.IntN(30)) * second)
			}
			stop()
			j.Die(nil)
			if chance(3) {
				for range random.IntN(30) {
					write()
					time.Sleep(time.Duration(random.IntN(60)) * second)
				}
			}
			next := config(f, j)
			next.Begin = c.Begin
			p, stop = run(t, next)
		}
	}
	calm.Store(true)
	time.Sleep(30 * time.Minute)
	stop()

	got := rcids(t, j)
	var want []int64
	for _, c := range f.changes {
		want = append(want, c.id)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		times := map[int64]int{}
		for _, id := range got {
			times[id]++
		}
		for _, c := range f.changes {
			if times[c.id] != 1 {
				t.Errorf("change %d of %v, visible %v, came %d times", c.id, time.Unix(c.at, 0).UTC(), c.visible.UTC(), times[c.id])
			}
		}
		t.Fatalf("%d changes came of %d", len(got), len(want))
	}
	if s := p.Stats(); s.Wiki != "xwiki" || s.LastError != "" || s.Shortened != 0 || len(s.Dropped) > 0 {
		t.Errorf("%+v", s)
	}
	t.Logf("%d changes, pages of %d, %d requests", len(want), f.limit, f.asked())
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errReset }

// TestFirstStart asserts that a wiki's past is left alone unless Begin says otherwise, and that a second start without a
// mark goes on from the first one's time, by the wiki's clock.
func TestFirstStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeWiki{limit: 50, skew: -time.Hour}
		now := time.Now().Add(f.skew)
		f.add(change{1, now.Unix() - 100, now}, change{2, now.Unix() - 10, now})
		j := &intaketest.Journal{}
		_, stop := run(t, config(f, j))
		time.Sleep(time.Minute)
		stop()
		if ids := rcids(t, j); len(ids) != 0 {
			t.Errorf("the past came: %v", ids)
		}
		c := config(f, j)
		c.Begin = time.Now().Add(-time.Minute - 20*time.Second)
		_, stop = run(t, c)
		time.Sleep(time.Minute)
		stop()
		if ids := rcids(t, j); !slices.Equal(ids, []int64{2}) {
			t.Errorf("%v came", ids)
		}
	})
}

// TestWaits asserts when requests are made: every interval, after Retry-After, and more and more rarely while all fail.
func TestWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		trouble     func() *http.Response
		least, most int // requests in an hour
	}{
		"polls":    {nil, 355, 365},
		"maxlag":   {func() *http.Response { return respond(200, `{"error":{"code":"maxlag","lag":8}}`, "Retry-After", "60") }, 38, 61},
		"lag only": {func() *http.Response { return respond(200, `{"error":{"code":"maxlag","lag":120}}`) }, 19, 31},
		"busy":     {func() *http.Response { return respond(503, "", "Retry-After", "600") }, 4, 7},
		"broken":   {func() *http.Response { return respond(200, "{") }, 10, 45},
		"refused":  {func() *http.Response { return respond(403, "who are you") }, 10, 45},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeWiki{limit: 10}
				if tc.trouble != nil {
					f.trouble = func(*http.Request) (*http.Response, error) { return tc.trouble(), nil }
				}
				p, stop := run(t, config(f, &intaketest.Journal{}))
				time.Sleep(time.Hour)
				stop()
				if n := f.asked(); n < tc.least || n > tc.most {
					t.Errorf("%d requests in an hour, want %d to %d", n, tc.least, tc.most)
				}
				s := p.Stats()
				if (s.LastError == "") != (tc.trouble == nil) || (s.Errors+s.Lagged == 0) != (tc.trouble == nil) || strings.Contains(name, "lag") != (s.Lagged > 0) {
					t.Errorf("%+v", s)
				}
				for i := 1; i < len(f.times); i++ {
					if f.times[i].Sub(f.times[i-1]) < time.Second && !strings.Contains(f.requests[i-1].URL.RawQuery, "siteinfo") {
						t.Errorf("request %d came %v after the one before", i, f.times[i].Sub(f.times[i-1]))
					}
				}
			})
		})
	}
}

// TestJournalFails asserts that nothing is lost or told twice while the journal takes nothing.
func TestJournalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := &fakeWiki{limit: 10}, &intaketest.Journal{}
		c := config(f, j)
		back := time.Now().Add(20 * time.Minute)
		c.Append = func(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
			if time.Now().Before(back) {
				return nil, tidings.Errorf(tidings.ErrUnavailable, "the disk is full")
			}
			return j.Append(ctx, events...)
		}
		_, stop := run(t, c)
		synctest.Wait()
		for i := range int64(100) {
			f.add(change{i + 1, time.Now().Unix(), time.Now()})
			time.Sleep(10 * time.Second)
		}
		time.Sleep(10 * time.Minute)
		stop()
		ids := rcids(t, j)
		slices.Sort(ids)
		if len(ids) != 100 || ids[0] != 1 || ids[99] != 100 {
			t.Errorf("%v", ids)
		}
	})
}

// TestOldWiki polls a wiki that goes on by the second. More changes in one second than a page holds cannot all be had,
// and that is counted; the poller goes on.
func TestOldWiki(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := &fakeWiki{limit: 10, old: true}, &intaketest.Journal{}
		p, stop := run(t, config(f, j))
		time.Sleep(time.Minute)
		at := time.Now().Unix()
		for i := range int64(35) {
			f.add(change{i + 1, at - 5 + i/8, time.Now()}) // eight in each second
		}
		time.Sleep(time.Minute)
		if ids := rcids(t, j); len(ids) != 35 {
			t.Fatalf("%d changes of 35 came", len(ids))
		}
		at = time.Now().Unix()
		for i := range int64(25) {
			f.add(change{i + 101, at, time.Now()})
		}
		f.add(change{200, at + 1, time.Now().Add(time.Second)})
		time.Sleep(time.Minute)
		stop()
		ids, s := rcids(t, j), p.Stats()
		if len(ids) != 46 || ids[45] != 200 || s.Dropped[Overflow] == 0 {
			t.Errorf("%d changes came, the last %d; %+v", len(ids), ids[len(ids)-1], s)
		}
	})
}

// TestBadRows: rows that are dropped are dropped once, and with a reason; the others come.
func TestBadRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &intaketest.Journal{}
		begin := time.Now()
		stamp := func(d time.Duration) string { return begin.Add(d).UTC().Format(time.RFC3339) }
		f := &fakeWiki{}
		f.trouble = func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("meta") != "" {
				return nil, nil
			}
			return respond(200, `{"query":{"recentchanges":[
				{"type":"edit","rcid":1,"timestamp":"`+stamp(0)+`","title":"A"},
				{"type":"edit","rcid":2,"timestamp":"`+stamp(1e9)+`","title":[]},
				{"type":"edit","rcid":"x","timestamp":"`+stamp(1e9)+`"},
				{"type":"edit","rcid":3,"timestamp":"never"},
				{"type":"edit","timestamp":"`+stamp(1e9)+`"},
				{"type":"external","rcid":4,"timestamp":"`+stamp(1e9)+`","title":"B"},
				{"rcid":5,"timestamp":"`+stamp(1e9)+`","title":"B"},
				{"type":"edit","rcid":"6","timestamp":"`+stamp(2e9)+`","title":"C"},
				7]}}`), nil
		}
		p, stop := run(t, config(f, j))
		time.Sleep(10 * time.Minute)
		stop()
		if all := j.Events(""); len(all) != 2 || all[1].Key != "rc/xwiki/6" {
			t.Errorf("%d events came", len(all))
		}
		if got, want := p.Stats().Dropped, map[string]uint64{"bad-field": 1, NoID: 4, "missing-field": 1}; !maps.Equal(got, want) {
			t.Errorf("dropped %v, want %v", got, want)
		}
	})
}

// TestFuture: a row whose time lies ahead of the wiki's clock does not hide those that come after it.
func TestFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := &fakeWiki{limit: 10}, &intaketest.Journal{}
		_, stop := run(t, config(f, j))
		synctest.Wait()
		f.add(change{1, time.Now().Add(24 * time.Hour).Unix(), time.Now()})
		for i := range int64(30) {
			time.Sleep(time.Minute)
			f.add(change{i + 2, time.Now().Unix(), time.Now()})
			if i == 15 {
				stop()
				_, stop = run(t, config(f, j))
			}
		}
		time.Sleep(time.Minute)
		stop()
		if ids := rcids(t, j); len(ids) != 31 {
			t.Errorf("%d changes of 31 came: %v", len(ids), ids)
		}
	})
}

// TestRequest asks for what an operator of a wiki sees.
func TestRequest(t *testing.T) {
	var seen []*http.Request
	answers := make(chan string, 8)
	got := make(chan tidings.Event, 8)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r)
		body := <-answers
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(gzipped(body))
			return
		}
		io.WriteString(w, body)
	}))
	defer server.Close()
	row := rowJSON(change{id: 7, at: time.Now().Unix()})
	answers <- fmt.Sprintf(siteInfo, time.Now().UTC().Format(time.RFC3339))
	answers <- `{"query":{"recentchanges":[` + row + `]}}`
	u, _ := url.Parse(server.URL + "/w/api.php?uselang=en")
	j := &intaketest.Journal{}
	c := config(nil, j)
	c.API, c.HTTP, c.Token, c.Interval = u, nil, "secret", time.Hour // two requests, however slow the machine
	c.Append = func(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
		for _, e := range events {
			got <- e
		}
		return make([]tidings.Appended, len(events)), nil
	}
	c.Begin = time.Now().Add(-time.Minute)
	p, stop := run(t, c)
	e := <-got
	stop()
	if string(e.Payload) != row || e.ContentType != recentchange.TypeAPI+`; article="/wiki/$1"; script="/w"; server="https://wiki.example.org"; wiki=xwiki` || e.Mark == "" {
		t.Errorf("%+v", e)
	}
	if len(seen) != 2 {
		t.Fatalf("%d requests", len(seen))
	}
	for _, r := range seen {
		q := r.URL.Query()
		if r.Header.Get("User-Agent") != "tidings/test (ops@example.org)" || r.Header.Get("Authorization") != "Bearer secret" ||
			q.Get("maxlag") != "5" || q.Get("uselang") != "en" || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Errorf("%s %v", r.URL, r.Header)
		}
	}
	if s := p.Stats(); s.Bytes == 0 || s.Requests != 2 || s.Rows != 1 || s.Appended != 1 || s.Newest.IsZero() {
		t.Errorf("%+v", s)
	}
}

func TestNew(t *testing.T) {
	good := config(nil, &intaketest.Journal{})
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"no address":     func(c *Config) { c.API = nil },
		"another scheme": func(c *Config) { c.API = &url.URL{Scheme: "udp", Host: "x"} },
		"no host":        func(c *Config) { c.API = &url.URL{Scheme: "http"} },
		"too often":      func(c *Config) { c.Interval = time.Millisecond },
		"late":           func(c *Config) { c.Late = time.Second },
		"overlap":        func(c *Config) { c.Overlap = -1 },
	} {
		c := good
		change(&c)
		if _, err := New(c); tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOtherWiki(t *testing.T) {
	for name, mark := range map[string]string{
		"another wiki's": (&window{high: 5, seen: map[int64]int64{}}).mark("ywiki"),
		"unreadable":     "2 what is this",
	} {
		synctest.Test(t, func(t *testing.T) {
			f, j := &fakeWiki{limit: 10}, &intaketest.Journal{}
			f.add(change{1, time.Now().Unix() - 1000, time.Now()}, change{2, time.Now().Unix() + 5, time.Now().Add(5 * time.Second)})
			c := config(f, j)
			c.Mark = mark
			_, stop := run(t, c)
			time.Sleep(time.Minute)
			stop()
			if ids := rcids(t, j); !slices.Equal(ids, []int64{2}) {
				t.Errorf("%s: %v", name, ids)
			}
		})
	}
}
