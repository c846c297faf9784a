package main

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/client"
	"tidings/recentchange"
)

// The servers of these tests, as scripts.
type (
	step struct {
		at   time.Duration // since the beginning
		what string        // see received
	}
	script []step
)

// edit returns a change as EventStreams has it.
func edit(rcid, rev int, title string) client.Event {
	return client.Event{Payload: fmt.Appendf(nil, `{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"domain":"en.wikipedia.org"},"id":%d,"type":"edit","title":"%s","user":"Ann","timestamp":1769855400,"revision":{"old":1,"new":%d},"server_name":"en.wikipedia.org","wiki":"enwiki"}`, rcid, title, rev)}
}

// ircEdit returns a change as IRC has it.
func ircEdit(rev int, title string) client.Event {
	return client.Event{ContentType: recentchange.TypeIRC, Payload: fmt.Appendf(nil, "\x0314[[\x0307%s\x0314]]\x034 \x0310 \x0302https://en.wikipedia.org/w/index.php?diff=%d&oldid=1\x03 \x035*\x03 \x0303Ann\x03 \x035*\x03 (+2) \x0310c\x03", title, rev)}
}

// sent is what the scripts send.
var sent = map[string]client.Event{
	"1": edit(1, 11, "One"), "2": edit(2, 12, "Two"), "3": edit(3, 13, "Three"),
	"irc 1": ircEdit(11, "One"), "irc 2": ircEdit(12, "Two"),
	"log 7":      {Payload: []byte(`{"meta":{},"id":7,"type":"log","title":"User:Bob","user":"Bob","log_id":70,"log_type":"newusers","log_action":"create","server_name":"en.wikipedia.org","wiki":"enwiki"}`)},
	"log 8":      {Payload: []byte(`{"meta":{},"id":8,"type":"log","title":"User:Bob","user":"Bob","log_id":80,"log_type":"newusers","log_action":"create","server_name":"en.wikipedia.org","wiki":"enwiki"}`)},
	"irc log":    {ContentType: recentchange.TypeIRC, Payload: []byte("\x0314[[\x0307Special:Log/newusers\x0314]]\x034 create\x0310 \x0302\x03 \x035*\x03 \x0303Bob\x03 \x035*\x03  \x0310created\x03")},
	"categorize": {Payload: []byte(`{"meta":{},"id":9,"type":"categorize","title":"Category:C","user":"Ann","server_name":"en.wikipedia.org","wiki":"enwiki"}`)},
	"canary":     {Payload: []byte(`{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"domain":"canary"}}`)},
	"german":     {Payload: []byte(`{"meta":{},"id":1,"type":"edit","title":"Eins","user":"Ann","revision":{"old":1,"new":11},"server_name":"de.wikipedia.org","wiki":"dewiki"}`)},
	"text":       {ContentType: "text/plain", Payload: []byte("hello")},
	"json":       {Payload: []byte(`{"b":1,"a":[2]}`)},
	"same json":  {Payload: []byte(` { "a" : [2], "b":1 }`)},
	"retract":    {Kind: tidings.Retract, ID: "item"},
}

// open returns a stream that plays the script and then waits for the end.
func (s script) open(t *testing.T, c *comparison, me side) stream {
	return stream{me.String(), func(ctx context.Context) iter.Seq2[received, error] {
		return func(yield func(received, error) bool) {
			begin := time.Now()
			for _, st := range s {
				select {
				case <-time.After(st.at - time.Since(begin)):
				case <-ctx.Done():
					return
				}
				var ok bool
				switch st.what {
				case "up":
					ok = true
					c.tell(news{side: me, notice: &client.Notice{URL: me.String()}})
				case "down":
					ok = true
					c.tell(news{side: me, notice: &client.Notice{URL: me.String(), Err: errSilent}})
				case "gap":
					ok = yield(received{}, &tidings.GapError{})
				case "lost":
					ok = yield(received{}, &lostError{"no history"})
				case "refused":
					yield(received{}, &client.StatusError{Status: 403})
					return
				default:
					e, known := sent[st.what]
					if !known {
						t.Errorf("no event %q", st.what)
					}
					ok = yield(received{Event: e, where: map[bool]string{true: "#en.wikipedia"}[e.ContentType == recentchange.TypeIRC]}, nil)
				}
				if !ok {
					return
				}
			}
			<-ctx.Done()
		}
	}}
}

// played reads a script such as: 0s up, 2s 1, 3s irc log.
func played(s string) (sc script) {
	for part := range strings.SplitSeq(s, ", ") {
		at, what, _ := strings.Cut(part, " ")
		d, _ := time.ParseDuration(at)
		sc = append(sc, step{d, what})
	}
	return sc
}

// The grace period is 10 s and the comparison takes a minute.
func TestCompare(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b string
		wiki string
		irc  bool
		from time.Duration // in the past
		out  string        // without the summary's numbers about lags
		fail string
	}{
		"the same": {a: "0s up, 20s 1, 30s 2", b: "1s up, 21s 1, 33s 2", out: "matched 2, only in A 0, only in B 0; B was behind 2 times, by 2s on average and 3s at most"},
		"one lacks something": {a: "0s up, 20s 1, 21s 2", b: "0s up, 20s 1", fail: "1 only in A, 0 only in B, 0 late",
			out: "only in A  X en.wikipedia.org edit [[Two]] Ann rcid=2 revision=12\nmatched 1, only in A 1, only in B 0; L"},
		"each lacks something": {a: "0s up, 20s 1", b: "0s up, 20s german", fail: "1 only in A, 1 only in B, 0 late",
			out: "only in A  X en.wikipedia.org edit [[One]] Ann rcid=1 revision=11\nonly in B  de.wikipedia.org edit [[Eins]] Ann rcid=1 revision=11\nmatched 0, only in A 1, only in B 1"},
		"one is late": {a: "0s up, 20s 1", b: "0s up, 35s 1", fail: "0 only in A, 0 only in B, 1 late",
			out: "only in A  X en.wikipedia.org edit [[One]] Ann rcid=1 revision=11\nlate in B by 15s  X en.wikipedia.org edit [[One]] Ann rcid=1 revision=11\nmatched 1, only in A 0, only in B 0, late in B 1"},
		"within the grace period":                 {a: "0s up, 29s 1", b: "0s up, 20s 1", out: "matched 1, only in A 0, only in B 0; A was behind 1 times, by 9s on average and 9s at most"},
		"the last wait for the rest":              {a: "0s up, 59s 1", b: "0s up, 65s 1", out: "matched 1, only in A 0, only in B 0; L"},
		"the last that never come":                {a: "0s up, 59s 1", b: "0s up", fail: "1 only in A, 0 only in B, 0 late", out: "only in A  X en.wikipedia.org edit [[One]] Ann rcid=1 revision=11\nmatched 0, only in A 1, only in B 0"},
		"what comes behind the end":               {a: "0s up, 59s 1, 61s 2", b: "0s up, 62s 1", out: "matched 1, only in A 0, only in B 0; L; not judged 1"},
		"before both are there":                   {a: "0s up, 1s 1", b: "5s up", out: "matched 0, only in A 0, only in B 0; not judged 1"},
		"what may have been before the beginning": {a: "0s up", b: "5s up, 14s 1", out: "matched 0, only in A 0, only in B 0; not judged 1"},
		"from the past": {a: "0s up, 1s 1, 2s 2", b: "5s up, 6s 1", from: time.Hour, fail: "1 only in A, 0 only in B, 0 late",
			out: "only in A  X en.wikipedia.org edit [[Two]] Ann rcid=2 revision=12\nmatched 1, only in A 1, only in B 0"},
		"one is away and resumes":         {a: "0s up, 20s 1, 21s 2", b: "0s up, 19s down, 50s up, 51s 1, 52s 2", out: "matched 2, only in A 0, only in B 0"},
		"one is away and does not resume": {a: "0s up, 20s 1, 55s 2", b: "0s up, 19s down, 30s up, 30s lost, 55s 2", out: "matched 1, only in A 0, only in B 0; L; B had 1 gaps; not judged 1"},
		"a gap":                           {a: "0s up, 20s 1, 30s gap", b: "0s up, 29s 2, 36s 3", out: "matched 0, only in A 1", fail: "1 only in A"},
		"away until the end":              {a: "0s up, 20s 1", b: "0s up, 19s down", out: "matched 0, only in A 0, only in B 0; not judged 1"},
		"repeats":                         {a: "0s up, 20s 1, 21s 1, 30s 1", b: "0s up, 20s 1", out: "matched 1, only in A 0, only in B 0; L; A repeated 2"},
		"IRC tells no rcid":               {a: "0s up, 20s 1, 20s 2, 20s categorize", b: "0s up, 21s irc 2, 21s irc 1", irc: true, out: "matched 2, only in A 0, only in B 0; L; skipped 1"},
		"IRC lacks one":                   {a: "0s up, 20s 1, 20s 2", b: "0s up, 21s irc 2", irc: true, fail: "1 only in A", out: "only in A  X en.wikipedia.org edit [[One]] Ann rcid=1 revision=11\nmatched 1, only in A 1, only in B 0; L"},
		"log entries on IRC":              {a: "0s up, 20s log 7, 21s log 8", b: "0s up, 22s irc log, 22s irc log", irc: true, out: "matched 2, only in A 0, only in B 0; L"},
		"log entries by their ids":        {a: "0s up, 20s log 7", b: "0s up, 20s log 8", fail: "1 only in A, 1 only in B", out: "matched 0, only in A 1, only in B 1"},
		"only one wiki":                   {a: "0s up, 20s 1, 20s german, 20s text", b: "0s up, 20s irc 1", wiki: "enwiki", out: "matched 1, only in A 0, only in B 0; L; skipped 2"},
		"a wiki by another name":          {a: "0s up, 20s german, 21s 1", b: "0s up, 20s 2, 20s 1", wiki: "en.wikipedia.org", fail: "0 only in A, 1 only in B", out: "matched 1, only in A 0, only in B 1"},
		"canaries":                        {a: "0s up, 20s canary", b: "0s up", out: "matched 0, only in A 0, only in B 0; skipped 1"},
		"what is no change":               {a: "0s up, 20s text, 20s json, 20s retract", b: "0s up, 20s retract, 20s same json", fail: "1 only in A", out: "only in A  hello\nmatched 2, only in A 1, only in B 0; L"},
		"a refusal":                       {a: "0s up, 20s refused", b: "0s up", fail: "A: the server answered 403 Forbidden", out: "matched 0, only in A 0, only in B 0"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out, errs bytes.Buffer
				c := &comparison{m: newMatcher(10*time.Second, 100, tc.wiki), irc: tc.irc, during: time.Minute, out: &out, err: &errs,
					painter: painter{now: time.Now}, news: make(chan news), notices: &printer{err: &errs, lost: map[string]bool{}}}
				if tc.from > 0 {
					c.m.since = time.Now().Add(-tc.from)
				}
				c.streams = [2]stream{played(tc.a).open(t, c, 0), played(tc.b).open(t, c, 1)}
				err := c.run(t.Context())
				if tc.fail == "" && err != nil || tc.fail != "" && (err == nil || !strings.Contains(err.Error(), tc.fail)) {
					t.Errorf("%v, want %q", err, tc.fail)
				}
				got := strings.ReplaceAll(out.String(), time.Unix(1769855400, 0).Local().Format(time.DateTime), "X")
				if !strings.HasSuffix(tc.out, " at most") {
					got = lags(got)
				}
				want := strings.Replace(tc.out, "; L", "", 1)
				if ok := got == want+"\n" || !strings.HasPrefix(want, "only") && strings.Contains(got, want); !ok {
					t.Errorf("printed\n%swant\n%s", got, want)
				}
			})
		})
	}
}

// lags takes what a summary says about lags out of it.
func lags(s string) string {
	parts := strings.Split(strings.TrimSuffix(s, "\n"), "; ")
	kept := parts[:0]
	for _, p := range parts {
		if !strings.Contains(p, " was behind ") {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "; ") + "\n"
}

// However much one side sends and the other does not, memory is bounded.
func TestMatcherIsBounded(t *testing.T) {
	m := newMatcher(time.Minute, 100, "")
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	m.connected(0, now)
	m.connected(1, now)
	now = now.Add(2 * time.Minute)
	for i := range 10_000 {
		th, ok := thingOf(received{Event: edit(i+1, i+1, "T")})
		if !ok {
			t.Fatal("no thing")
		}
		m.add(side(i%3/2), th, time.Time{}, now)
		if i%10 == 0 {
			now = now.Add(time.Second)
		}
		m.expire(now)
	}
	for i := range m.sides {
		s := &m.sides[i]
		if m.waiting > 100 || s.queue.len() > 200 || s.told.len() > 100 || len(s.seen) > 400 || s.seenList.len() > 400 || len(s.index) > 1000 {
			t.Errorf("%v: %d wait, queue %d, told %d, seen %d, index %d", side(i), m.waiting, s.queue.len(), s.told.len(), len(s.seen), len(s.index))
		}
	}
	m.close()
	if st := m.stats; st.notJudged == 0 || st.matched != 0 || st.notJudged+st.only[0]+st.only[1] != 10_000 {
		t.Errorf("%+v", st)
	}
}
