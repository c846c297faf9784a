package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"tidings"
	"tidings/client"
	"tidings/internal/cloudevents"
)

// tail prints events as they come.
func tail(ctx context.Context, args []string, std stdio) error {
	fs := newFlags("tail")
	var srv target
	srv.flags(fs, false)
	var filters list
	format := choice{"line", []string{"line", "json", "raw"}}
	from := fs.String("from", "", "")
	limit := fs.Uint64("limit", 0, "")
	fs.Var(&filters, "filter", "")
	fs.Var(&format, "format", "")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	start, err := parseFrom(*from, time.Now())
	if err != nil {
		return err
	}
	out := &printer{
		out: std.out, err: std.err, format: format.value, left: *limit,
		painter: painter{wantsColour(std.out), time.Now}, lost: map[string]bool{},
	}
	if *limit == 0 {
		out.left = math.MaxUint64
	}
	c, err := srv.client("tail", client.WithNotify(out.notice))
	if err != nil {
		return err
	}
	streams, err := tailStreams(ctx, c, operands, filters, start)
	if err != nil {
		return err
	}
	err = out.printAll(ctx, streams)
	if ctx.Err() != nil { // interrupted, which is how it ends
		return nil
	}
	return srv.explain(err)
}

// source is one of the streams that tail reads.
type source struct {
	messages  iter.Seq2[client.Message, error]
	enveloped bool // the data are events in their envelope
	url       string
}

// tailStreams returns a function for each stream that the operands name: all patterns share one.
func tailStreams(ctx context.Context, c *client.Client, operands, filters []string, from client.From) ([]func(context.Context) source, error) {
	var patterns []tidings.Pattern
	var streams []func(context.Context) source
	for _, o := range operands {
		if strings.Contains(o, "://") {
			u, err := url.Parse(o)
			if err != nil {
				return nil, usageError{"tail", err}
			}
			if u.Scheme != "http" && u.Scheme != "https" {
				return nil, usagef("tail", "%s: tail reads http and https, not %s", o, u.Scheme)
			}
			if len(filters) > 0 {
				return nil, withHint(usagef("tail", "--filter is for patterns"), "write the filter into the URL, such as "+o+"?"+filters[0])
			}
			streams = append(streams, func(ctx context.Context) source {
				return source{c.Stream(ctx, o, from), strings.HasSuffix(u.Path, "/subscribe"), o}
			})
			continue
		}
		p, err := tidings.ParsePattern(o)
		if err != nil {
			return nil, usageError{"tail", err}
		}
		patterns = append(patterns, p)
	}
	if len(operands) == 0 {
		patterns = append(patterns, tidings.MustPattern("/**"))
	}
	if len(patterns) == 0 {
		return streams, nil
	}
	var fields []client.Filter
	for _, f := range filters {
		if m := fieldFilter.FindStringSubmatch(f); m != nil {
			fields = append(fields, client.Filter{Field: m[1], Value: m[2]})
		} else {
			fields = append(fields, client.Filter{Value: f})
		}
	}
	ref, err := client.SubscribePath(patterns, fields...)
	if err != nil {
		return nil, usageError{"tail", err}
	}
	return append(streams, func(ctx context.Context) source {
		return source{c.Stream(ctx, ref, from), true, ref}
	}), nil
}

// fieldFilter matches FIELD=VALUE; any other filter is an expression, which has no assignment.
var fieldFilter = regexp.MustCompile(`(?s)^([A-Za-z_][A-Za-z0-9_.]*)=([^=].*|)$`)

// parseFrom parses the flag --from.
func parseFrom(s string, now time.Time) (client.From, error) {
	if s == "" {
		return client.Live, nil
	}
	if p, err := tidings.ParsePosition(s); err == nil {
		return client.After(p), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return client.Since(now.Add(-d)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return client.Since(t), nil
		}
	}
	return client.From{}, usagef("tail", "--from %s: want a position such as 5f3a9c01-1042, a time such as 2026-01-31T12:00:00Z, or how long ago, such as 15m", s)
}

// errEnough says that the limit is reached.
var errEnough = errors.New("enough")

// printer prints the events of several streams, each whole.
type printer struct {
	mu      sync.Mutex
	out     io.Writer
	err     io.Writer
	format  string
	painter painter
	left    uint64          // events to print
	lost    map[string]bool // streams whose connection was lost
}

// printAll prints until ctx ends, a stream fails or the limit is reached.
func (p *printer) printAll(ctx context.Context, streams []func(context.Context) source) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, open := range streams {
		wg.Go(func() {
			if err := p.printStream(open(ctx)); err != nil {
				cancel(err) // the first one is the reason
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != errEnough {
		return err
	}
	return nil
}

// printStream prints one stream until it ends.
func (p *printer) printStream(s source) error {
	for m, err := range s.messages {
		if gap, ok := errors.AsType[*tidings.GapError](err); ok {
			err = p.gap(gap)
		} else if err == nil {
			err = p.message(m, s.enveloped)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// message prints one message.
func (p *printer) message(m client.Message, enveloped bool) error {
	e := client.Event{ContentType: "application/json", Payload: m.Data}
	if enveloped {
		if m.Type != "message" {
			return nil
		}
		var err error
		if e, err = client.ParseEvent(m.Data); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return errEnough
	}
	line := append([]byte(nil), e.Payload...)
	switch p.format {
	case "json":
		line = oneLine(m.Data)
	case "line":
		if enveloped {
			line = []byte(p.painter.event(e))
		} else {
			line = []byte(p.painter.foreign(m))
		}
	}
	if _, err := p.out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if p.left--; p.left == 0 {
		return errEnough
	}
	return nil
}

// oneLine returns data as one line of JSON: as it is, or as a string where it is no JSON.
func oneLine(data []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, data) == nil {
		return b.Bytes()
	}
	s, _ := json.Marshal(string(data)) // a string cannot fail
	return s
}

// foreign returns a message of a stream that is not in envelopes as a line.
func (p painter) foreign(m client.Message) string {
	if m.Type == "retract" {
		return p.paint(red, "retracted ") + printable(string(m.Data))
	}
	rc := changeOf(client.Event{Payload: m.Data})
	if rc == nil {
		return text("", m.Data)
	}
	where := rc.ServerName.Value()
	if where == "" {
		where = rc.Wiki.Value()
	}
	return p.paint(dim, p.when(rc.Time())) + " " + p.paint(cyan, printable(where)) + " " + p.change(rc)
}

// gap says that events were lost, on stderr and, for a program, among the events.
func (p *printer) gap(gap *tidings.GapError) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.err, "tidings: gap: the events after %s are not all kept any more; going on from %s\n", gap.Asked, gap.Oldest)
	if p.format != "json" {
		return nil
	}
	_, err := p.out.Write(append(cloudevents.AppendGap(nil, gap), '\n'))
	return err
}

// notice says on stderr that a connection was lost, or is there again.
func (p *printer) notice(n client.Notice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	where := n.URL
	if u, err := url.Parse(n.URL); err == nil {
		where = u.Host
	}
	switch {
	case n.Err != nil:
		p.lost[n.URL] = true
		fmt.Fprintf(p.err, "tidings: %s: %s; trying again in %s\n", printable(where), printable(strings.TrimPrefix(n.Err.Error(), "client: ")), n.Wait.Round(100*time.Millisecond))
	case p.lost[n.URL]:
		delete(p.lost, n.URL)
		fmt.Fprintf(p.err, "tidings: %s: connected again\n", printable(where))
	}
}
