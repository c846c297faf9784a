package main

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"tidings"
	"tidings/client"
)

// stream is something to read.
type stream struct {
	name string // its address
	open func(context.Context) iter.Seq2[received, error]
}

// opener makes streams of what a command line names.
type opener struct {
	command string
	server  *url.URL // the token is for
	token   string
	client  *client.Client
	from    point
	notify  func(client.Notice)
	xmpp    xmppFlags
}

func newOpener(command string, srv *target, from point, notify func(client.Notice)) (*opener, error) {
	c, err := srv.client(command, client.WithNotify(notify))
	if err != nil {
		return nil, err
	}
	server, err := url.Parse(srv.url)
	if err != nil {
		return nil, usageError{command, err}
	}
	return &opener{command: command, server: server, token: srv.token, client: c, from: from, notify: notify}, nil
}

// open returns the streams that the operands, patterns and URLs, stand for; all patterns share one.
func (o *opener) open(ctx context.Context, operands, filters []string) ([]stream, error) {
	if o.xmpp != (xmppFlags{}) && !slices.ContainsFunc(operands, isXMPP) {
		return nil, usagef(o.command, "--node and --password-file are for xmpp://…")
	}
	var patterns []tidings.Pattern
	var streams []stream
	fields := filtersOf(filters)
	for _, operand := range operands {
		if strings.Contains(operand, "://") || isXMPP(operand) {
			if len(filters) > 0 && !isXMPP(operand) {
				return nil, withHint(usagef(o.command, "--filter is for patterns and rooms"), "write the filter into the URL, such as "+operand+"?"+filters[0])
			}
			s, err := o.openURL(ctx, operand, fields)
			if err != nil {
				return nil, err
			}
			streams = append(streams, s)
			continue
		}
		p, err := tidings.ParsePattern(operand)
		if err != nil {
			return nil, usageError{o.command, err}
		}
		patterns = append(patterns, p)
	}
	if len(operands) == 0 {
		patterns = append(patterns, tidings.MustPattern("/**"))
	}
	if len(patterns) == 0 {
		return streams, nil
	}
	ref, err := client.SubscribePath(patterns, fields...)
	if err != nil {
		return nil, usageError{o.command, err}
	}
	return append(streams, stream{ref, func(ctx context.Context) iter.Seq2[received, error] {
		return o.events(ctx, ref, true)
	}}), nil
}

// fieldFilter matches FIELD=VALUE; any other filter is an expression, which has no assignment.
var fieldFilter = regexp.MustCompile(`(?s)^([A-Za-z_][A-Za-z0-9_.]*)=([^=].*|)$`)

// filtersOf returns what the flags --filter say.
func filtersOf(flags []string) (filters []client.Filter) {
	for _, f := range flags {
		if m := fieldFilter.FindStringSubmatch(f); m != nil {
			filters = append(filters, client.Filter{Field: m[1], Value: m[2]})
		} else {
			filters = append(filters, client.Filter{Value: f})
		}
	}
	return filters
}

// openURL returns the stream at an address. The filters are for those that have no place for them.
func (o *opener) openURL(ctx context.Context, address string, filters []client.Filter) (stream, error) {
	if isXMPP(address) {
		return o.openXMPP(ctx, address, filters)
	}
	u, err := url.Parse(address)
	if err != nil {
		return stream{}, usageError{o.command, err}
	}
	if u.Host == "" {
		return stream{}, usagef(o.command, "%s names no host", address)
	}
	var w wire
	switch u.Scheme {
	case "http", "https":
		return stream{address, func(ctx context.Context) iter.Seq2[received, error] {
			return o.events(ctx, address, strings.HasSuffix(u.Path, "/subscribe"))
		}}, nil
	case "ws", "wss":
		w = &wsWire{url: u, token: o.tokenFor(u), from: o.from}
	case "irc", "ircs":
		token := ""
		if u.Hostname() == o.server.Hostname() && (u.Scheme == "ircs" || isLoopback(o.server.String())) {
			token = o.token
		}
		w, err = newIRC(o.command, u, token, o.from)
	case "sio", "sios":
		w, err = newSIO(o.command, u, o.tokenFor(u), o.from)
	case "sio4", "sio4s":
		w, err = newSIO4(o.command, u, o.tokenFor(u), o.from)
	default:
		return stream{}, usagef(o.command, "%s: %s cannot read %s: want http, https, ws, wss, xmpp, xmpps, irc, ircs, sio, sios, sio4 or sio4s", address, o.command, u.Scheme)
	}
	if err != nil {
		return stream{}, err
	}
	l := newLink(u.Redacted(), o.notify)
	return stream{l.url, func(ctx context.Context) iter.Seq2[received, error] { return l.stream(ctx, w) }}, nil
}

// tokenFor returns the token if the address is of the server that it is for.
func (o *opener) tokenFor(u *url.URL) string {
	if h := httpURL(u); h.Scheme == o.server.Scheme && h.Host == o.server.Host {
		return o.token
	}
	return ""
}

// events reads a stream of Server-Sent Events.
func (o *opener) events(ctx context.Context, ref string, enveloped bool) iter.Seq2[received, error] {
	return func(yield func(received, error) bool) {
		for m, err := range o.client.Stream(ctx, ref, o.from.from()) {
			var r received
			switch {
			case err != nil:
				u, parseErr := url.Parse(ref)
				if _, failed := errors.AsType[*url.Error](err); failed && parseErr == nil && u.IsAbs() && ctx.Err() == nil {
					err = unreachable(u, err) // it is not the server of the flags
				}
			case enveloped && m.Type != "message":
				continue
			case enveloped:
				r.Event, err = client.ParseEvent(m.Data)
				r.record = oneLine(m.Data)
			default:
				r = foreign(m.Data, "")
				if m.Type == "retract" {
					r.Kind = tidings.Retract
				}
			}
			if !yield(r, err) {
				return
			}
		}
	}
}
