package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tidings"
	"tidings/recentchange"
	"tidings/source/mediawiki/poll"
)

// maxDatagram is the most that fits into a datagram over IPv4.
const maxDatagram = 65507

// pollCommand polls a wiki and sends its changes over UDP, as the extension XMLRC would.
func pollCommand(ctx context.Context, args []string, std stdio) error {
	fs := newFlags("poll")
	to := fs.String("to", "", "")
	interval := fs.Duration("interval", poll.DefaultInterval, "")
	overlap := fs.Duration("overlap", poll.DefaultOverlap, "")
	late := fs.Duration("late", poll.DefaultLate, "")
	since := fs.Duration("since", 0, "")
	state := fs.String("state", "", "")
	contact := fs.String("contact", "", "")
	level := choice{"info", []string{"debug", "info", "warn", "error"}}
	fs.Var(&level, "log-level", "")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) != 1 {
		return usagef("poll", "want the address of one api.php, such as https://wiki.example.org/w/api.php")
	}
	api, err := url.Parse(operands[0])
	if err != nil {
		return usageError{"poll", err}
	}
	dest, err := url.Parse(*to)
	if err != nil || dest.Scheme != "udp" || dest.Host == "" || dest.Port() == "" || strings.Trim(dest.Path, "/") != "" {
		return usagef("poll", "want --to udp://HOST:PORT, not %q", *to)
	}
	if *contact == "" && !isLoopback(api.String()) {
		fmt.Fprintln(std.err, "tidings: many wikis refuse robots that do not say whom to write to: name somebody with --contact ADDRESS")
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level.value)); err != nil {
		return err
	}
	mark, err := readState(*state)
	if err != nil {
		return err
	}
	conn, err := net.Dial("udp", dest.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: l}))
	p, err := poll.New(poll.Config{
		API: api, UserAgent: userAgent(*contact), Interval: *interval, Overlap: *overlap, Late: *late, MaxLag: poll.DefaultMaxLag,
		Publisher: publisherName("poll", api), Begin: time.Now().Add(-*since), Mark: mark, Log: log,
		Append: (&datagrams{conn: conn, state: *state, log: log}).send,
	})
	if err != nil {
		return usageError{"poll", err}
	}
	return p.Run(ctx)
}

// datagrams sends events as <rc> elements.
type datagrams struct {
	conn  net.Conn
	state string
	log   *slog.Logger
}

// send sends each event and, if that is wanted, writes down the mark behind the last one.
func (d *datagrams) send(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	for i := range events {
		rc, err := recentchange.Decode(events[i].ContentType, events[i].Payload)
		if err != nil { // not reached: the source has decoded it
			return nil, tidings.Errorf(tidings.ErrInvalid, "sending a change: %w", err)
		}
		b := rc.AppendRC(nil)
		if len(b) > maxDatagram {
			d.log.Warn("a change does not fit into a datagram and was dropped", "key", events[i].Key, "bytes", len(b))
			continue
		}
		// Nobody listening yet shows as an error of a later datagram; that one has been lost already, this one may not be.
		if _, err := d.conn.Write(b); err != nil {
			if _, err = d.conn.Write(b); err != nil {
				d.log.Warn("a change was not taken by the network", "key", events[i].Key, "err", err)
			}
		}
	}
	if m := events[len(events)-1].Mark; d.state != "" && m != "" {
		if err := writeState(d.state, m); err != nil {
			// What has been sent cannot be taken back, and to send it again would be worse than a position that is old.
			d.log.Error("the position was not written down", "err", err)
		}
	}
	return make([]tidings.Appended, len(events)), nil
}

// readState returns the position that the last run has written down; empty if there is no file.
func readState(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// writeState replaces the file at once, so that a crash leaves the old position or the new one.
func writeState(name, mark string) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(mark + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
