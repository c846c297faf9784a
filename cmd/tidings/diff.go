package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"tidings"
	"tidings/client"
	"tidings/recentchange"
)

// maxWaiting bounds what waits in a matcher.
const maxWaiting = 100_000

// errDiffer makes the exit code 1.
var errDiffer = errors.New("the servers differ")

// diff reads two servers at once and prints what one sent and the other did not.
func diff(ctx context.Context, args []string, std stdio) error {
	fs := newFlags("diff")
	var srv target
	srv.flags(fs, false)
	format := choice{"line", []string{"line", "json"}}
	from := fs.String("from", "", "")
	wiki := fs.String("wiki", "", "")
	during := fs.Duration("for", 0, "")
	grace := fs.Duration("grace", 30*time.Second, "")
	fs.Var(&format, "format", "")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	switch {
	case len(operands) != 2:
		return withHint(usagef("diff", "want two servers, A and B, and not %d", len(operands)), "tidings diff https://stream.wikimedia.org/v2/stream/recentchange "+defaultServer+"/v2/stream/recentchange")
	case *during < 0 || *grace <= 0:
		return usagef("diff", "--for and --grace are durations such as 5m and 30s")
	}
	start, err := parsePoint("diff", *from, time.Now())
	if err != nil {
		return err
	}
	if !start.after.IsZero() {
		return usagef("diff", "--from %s: a position is of one server: want a time, or how long ago, such as 15m", *from)
	}
	c := &comparison{
		m: newMatcher(*grace, maxWaiting, *wiki), during: *during, json: format.value == "json",
		out: std.out, err: std.err, painter: painter{wantsColour(std.out), time.Now}, news: make(chan news),
		notices: &printer{err: std.err, lost: map[string]bool{}},
	}
	c.m.since = start.since
	for i, operand := range operands {
		o, err := newOpener("diff", &srv, start, func(n client.Notice) { c.tell(news{side: side(i), notice: &n}) })
		if err != nil {
			return err
		}
		streams, err := o.open(ctx, []string{operand}, nil)
		if err != nil {
			return err
		}
		c.streams[i] = streams[0]
		c.irc = c.irc || strings.HasPrefix(operand, "irc")
	}
	return srv.explain(c.run(ctx))
}

// comparison is one run of diff.
type comparison struct {
	m       *matcher
	streams [2]stream
	irc     bool          // one of them is IRC, which has no categorize
	during  time.Duration // 0: until interrupted
	json    bool
	out     io.Writer
	err     io.Writer
	painter painter
	notices *printer

	news chan news
	over <-chan struct{} // closed when run takes no news any more
}

// news is what a stream tells run: an event, an error or a notice.
type news struct {
	side   side
	got    received
	err    error
	notice *client.Notice
}

// tell hands n to run, unless that has ended.
func (c *comparison) tell(n news) {
	select {
	case c.news <- n:
	case <-c.over:
	}
}

// run compares until the time is over, a stream fails or ctx ends, prints the summary and returns errDiffer if something
// differs.
func (c *comparison) run(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	c.over = ctx.Done()
	for i, s := range c.streams {
		wg.Go(func() {
			for r, err := range s.open(ctx) {
				c.tell(news{side: side(i), got: r, err: err})
			}
		})
	}
	failed := c.compare(ctx)
	c.m.close()
	if err := c.summary(); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if st := &c.m.stats; st.differ() {
		return fmt.Errorf("%w: %d only in A, %d only in B, %d late", errDiffer, st.only[0], st.only[1], st.late[0]+st.late[1])
	}
	if c.m.start.IsZero() {
		return errors.New("nothing was compared: interrupted before both servers were there")
	}
	return nil
}

// compare is the loop.
func (c *comparison) compare(ctx context.Context) error {
	var over, last <-chan time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return c.tellAll(c.m.expire(time.Now()))
		case n := <-c.news:
			if ctx.Err() != nil { // which may be the news
				continue
			}
			now := time.Now()
			begins, err := c.take(n, now)
			if err != nil {
				return err
			}
			if begins {
				fmt.Fprintf(c.err, "tidings: comparing A, %s, with B, %s\n", printable(c.streams[0].name), printable(c.streams[1].name))
				if c.during > 0 {
					over = time.After(c.during)
				}
			}
		case <-timer.C:
		case <-over:
			c.m.finish(time.Now())
			over, last = nil, time.After(c.m.grace)
		case <-last:
			return c.tellAll(c.m.expire(time.Now()))
		}
		now := time.Now()
		if err := c.tellAll(c.m.expire(now)); err != nil {
			return err
		}
		if last != nil && !c.m.open() {
			return nil
		}
		if next := c.m.next(); next != never {
			timer.Reset(max(next.Sub(now), time.Millisecond))
		}
	}
}

// take acts on what a stream tells. Its error ends the comparison.
func (c *comparison) take(n news, now time.Time) (begins bool, err error) {
	gap, isGap := errors.AsType[*tidings.GapError](n.err)
	lost, isLost := errors.AsType[*lostError](n.err)
	switch {
	case n.notice != nil:
		c.notices.notice(*n.notice)
		if n.notice.Err != nil {
			c.m.disconnected(n.side)
			return false, nil
		}
		return c.m.connected(n.side, now), nil
	case isGap:
		c.m.gap(n.side, now)
		fmt.Fprintf(c.err, "tidings: gap in %s: the events after %s are not all kept any more; what is missing of them is not judged\n", n.side, gap.Asked)
		return false, nil
	case isLost:
		c.m.gap(n.side, now)
		fmt.Fprintf(c.err, "tidings: gap in %s: %s; what is missing of it is not judged\n", n.side, printable(lost.Error()))
		return false, nil
	case n.err != nil:
		return false, fmt.Errorf("%s: %w", n.side, n.err)
	}
	t, ok := thingOf(n.got)
	if !ok || c.irc && t.Type == recentchange.Categorize {
		c.m.stats.skipped++
		return false, nil
	}
	made := time.Time{}
	if !c.m.since.IsZero() {
		made = t.made
	}
	if f, found := c.m.add(n.side, t, made, now); found {
		return false, c.tellAll([]finding{f})
	}
	return false, nil
}

// tellAll prints differences.
func (c *comparison) tellAll(found []finding) error {
	for _, f := range found {
		var line []byte
		if c.json {
			word := "only"
			if f.late > 0 {
				word = "late"
			}
			line, _ = json.Marshal(struct { // texts and numbers
				Difference string  `json:"difference"`
				In         string  `json:"in"`
				Seconds    float64 `json:"seconds,omitempty"`
				Event      thing   `json:"event"`
			}{word, f.in.String(), f.late.Seconds(), f.thing})
		} else if f.late > 0 {
			line = []byte(c.painter.paint(yellow, fmt.Sprintf("late in %s by %s", f.in, rounded(f.late))) + "  " + f.thing.line(c.painter))
		} else {
			line = []byte(c.painter.paint(red, "only in "+f.in.String()) + "  " + f.thing.line(c.painter))
		}
		if _, err := c.out.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	return nil
}

// summary prints what it came to.
func (c *comparison) summary() error {
	st := &c.m.stats
	if c.json {
		type lagged struct {
			Times   int64   `json:"times"`
			Average float64 `json:"average_seconds"`
			Most    float64 `json:"most_seconds"`
		}
		type one struct {
			URL      string `json:"url"`
			Only     int64  `json:"only"`
			Late     int64  `json:"late"`
			Behind   lagged `json:"behind"`
			Repeated int64  `json:"repeated"`
			Gaps     int64  `json:"gaps"`
		}
		of := func(s side) one {
			l := st.lags[s]
			return one{c.streams[s].name, st.only[s], st.late[s], lagged{l.times, l.average().Seconds(), l.most.Seconds()}, st.repeated[s], st.gaps[s]}
		}
		type body struct {
			Matched   int64 `json:"matched"`
			A         one   `json:"A"`
			B         one   `json:"B"`
			NotJudged int64 `json:"not_judged"`
			Skipped   int64 `json:"skipped"`
		}
		return json.NewEncoder(c.out).Encode(map[string]body{"summary": {st.matched, of(0), of(1), st.notJudged, st.skipped}})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "matched %d, only in A %d, only in B %d", st.matched, st.only[0], st.only[1])
	for s := range side(2) {
		if st.late[s] > 0 {
			fmt.Fprintf(&b, ", late in %s %d", s, st.late[s])
		}
		if l := st.lags[s]; l.times > 0 {
			fmt.Fprintf(&b, "; %s was behind %d times, by %s on average and %s at most", s, l.times, rounded(l.average()), rounded(l.most))
		}
		if st.repeated[s] > 0 {
			fmt.Fprintf(&b, "; %s repeated %d", s, st.repeated[s])
		}
		if st.gaps[s] > 0 {
			fmt.Fprintf(&b, "; %s had %d gaps", s, st.gaps[s])
		}
	}
	if st.notJudged > 0 {
		fmt.Fprintf(&b, "; not judged %d", st.notJudged)
	}
	if st.skipped > 0 {
		fmt.Fprintf(&b, "; skipped %d", st.skipped)
	}
	_, err := fmt.Fprintln(c.out, b.String())
	return err
}

func (l lag) average() time.Duration {
	if l.times == 0 {
		return 0
	}
	return l.sum / time.Duration(l.times)
}

// rounded shortens a duration to what a person reads.
func rounded(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Microsecond * 100)
	}
	return d.Round(10 * time.Millisecond)
}
