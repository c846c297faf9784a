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
	var xmpp xmppFlags
	xmpp.flags(fs)
	fs.Var(&filters, "filter", "")
	fs.Var(&format, "format", "")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	start, err := parsePoint("tail", *from, time.Now())
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
	o, err := newOpener("tail", &srv, start, out.notice)
	if err != nil {
		return err
	}
	o.xmpp = xmpp
	streams, err := o.open(ctx, operands, filters)
	if err != nil {
		return err
	}
	err = out.printAll(ctx, streams)
	if ctx.Err() != nil { // interrupted, which is how it ends
		return nil
	}
	return srv.explain(err)
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
func (p *printer) printAll(ctx context.Context, streams []stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() {
			if err := p.printStream(s.name, s.open(ctx)); err != nil {
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
func (p *printer) printStream(name string, messages iter.Seq2[received, error]) error {
	for r, err := range messages {
		switch gap, isGap := errors.AsType[*tidings.GapError](err); {
		case isGap:
			err = p.gap(gap)
		case err == nil:
			err = p.message(r)
		default:
			if lost, ok := errors.AsType[*lostError](err); ok {
				err = p.lostSome(name, lost)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// message prints one event.
func (p *printer) message(r received) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return errEnough
	}
	line := append([]byte(nil), r.Payload...)
	switch p.format {
	case "json":
		line = r.record
	case "line":
		line = []byte(p.painter.line(r))
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

// line returns an event as a line.
func (p painter) line(r received) string {
	if r.Topic != "" {
		return p.event(r.Event)
	}
	begin := ""
	if !r.Time.IsZero() {
		begin = p.paint(dim, p.when(r.Time)) + " " + p.paint(cyan, printable(r.where)) + " "
	}
	if r.Kind == tidings.Retract {
		return begin + p.paint(red, "retracted ") + printable(string(r.Payload)+r.ID)
	}
	rc := changeOf(r.Event)
	if rc == nil {
		return begin + text("", r.Payload)
	}
	if begin == "" || rc.ServerName.Value() != "" {
		where := rc.ServerName.Value()
		if where == "" {
			where = rc.Wiki.Value()
		}
		at := rc.Time()
		if at.IsZero() {
			at = r.Time
		}
		begin = p.paint(dim, p.when(at)) + " " + p.paint(cyan, printable(where)) + " "
	}
	return begin + p.change(rc)
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

// lostSome says that what was sent while a connection was away is lost, on stderr and, for a program, among the events.
func (p *printer) lostSome(name string, lost *lostError) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.err, "tidings: gap: %s: %s\n", printable(hostOf(name)), printable(lost.Error()))
	if p.format != "json" {
		return nil
	}
	type data struct {
		Reason string `json:"reason"`
	}
	b, err := json.Marshal(struct {
		SpecVersion string `json:"specversion"`
		ID          string `json:"id"`
		Source      string `json:"source"`
		Type        string `json:"type"`
		ContentType string `json:"datacontenttype"`
		Data        data   `json:"data"`
	}{cloudevents.SpecVersion, "gap-" + p.painter.now().UTC().Format(time.RFC3339Nano), name, cloudevents.TypeGap, "application/json", data{lost.why}})
	if err == nil {
		_, err = p.out.Write(append(b, '\n'))
	}
	return err
}

// hostOf returns what a person calls the server of a URL.
func hostOf(s string) string {
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		return u.Host
	}
	return s
}

// notice says on stderr that a connection was lost, or is there again.
func (p *printer) notice(n client.Notice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	where := hostOf(n.URL)
	switch {
	case n.Err != nil:
		p.lost[n.URL] = true
		fmt.Fprintf(p.err, "tidings: %s: %s; trying again in %s\n", printable(where), printable(strings.TrimPrefix(n.Err.Error(), "client: ")), n.Wait.Round(100*time.Millisecond))
	case p.lost[n.URL]:
		delete(p.lost, n.URL)
		fmt.Fprintf(p.err, "tidings: %s: connected again\n", printable(where))
	}
}
