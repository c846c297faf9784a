//go:build linux

// Command capture runs a wiki of its own and records, byte for byte, the datagrams of its change feeds in all four
// dialects: json, xml, irc and rc; and, as api, the rows of the list of recent changes that its API shows to anybody in
// the end. The files it writes are those in recentchange/testdata/capture and recentchange/testdata/api.
//
//	go run ./interop/capture -out recentchange/testdata/capture -rounds 3
//
// A file is a sequence of datagrams in order of arrival, each behind its length as four bytes, big-endian.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"tidings/interop/mediawiki"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("capture", flag.ContinueOnError)
	out := flags.String("out", ".", "directory to write to")
	rounds := flags.Int("rounds", 3, "rounds of changes, about seventy each")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tidings-capture-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var feeds []mediawiki.Feed
	var recorders []*recorder
	var running sync.WaitGroup
	for _, d := range []mediawiki.Dialect{mediawiki.JSON, mediawiki.XML, mediawiki.IRC, mediawiki.RC} {
		r, err := newRecorder(d)
		if err != nil {
			return err
		}
		recorders = append(recorders, r)
		feeds = append(feeds, mediawiki.Feed{Dialect: d, Addr: r.conn.LocalAddr().String()})
		running.Go(r.run)
	}
	rows, err := drive(ctx, dir, feeds, *rounds)
	for _, r := range recorders {
		r.stop()
	}
	running.Wait()
	if err != nil {
		return err
	}
	recorders = append(recorders, rows)
	for _, r := range recorders {
		if r.err != nil {
			return fmt.Errorf("capture: %s: %w", r.dialect, r.err)
		}
		if err := os.WriteFile(filepath.Join(*out, string(r.dialect)+".datagrams"), r.file, 0o644); err != nil {
			return err
		}
		fmt.Printf("%s: %d datagrams, %d bytes, the largest %d\n", r.dialect, r.datagrams, len(r.file), r.largest)
	}
	return nil
}

// drive makes the changes and returns the rows of the API.
func drive(ctx context.Context, dir string, feeds []mediawiki.Feed, rounds int) (*recorder, error) {
	w, err := mediawiki.Start(ctx, dir, feeds...)
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	script, err := w.NewScript(ctx)
	if err != nil {
		return nil, err
	}
	for range rounds {
		if err := script.Round(ctx); err != nil {
			return nil, err
		}
	}
	rows, err := recentChanges(ctx, w)
	if err != nil {
		return nil, err
	}
	version, err := mediawiki.Version()
	if err != nil {
		return nil, err
	}
	fmt.Println("mediawiki", version)
	return rows, nil
}

// recentChanges asks the API for the newest 500 changes, oldest first, with all that a poll asks for.
func recentChanges(ctx context.Context, w *mediawiki.Wiki) (*recorder, error) {
	q := url.Values{"action": {"query"}, "format": {"json"}, "formatversion": {"2"}, "list": {"recentchanges"}, "rcdir": {"newer"},
		"rclimit": {"500"}, "rctype": {"edit|new|log|categorize"},
		"rcprop": {"user|userid|comment|flags|timestamp|title|ids|sizes|redirect|loginfo|tags"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/api.php?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Query struct{ RecentChanges []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("capture: the list of recent changes: %w", err)
	}
	r := &recorder{dialect: "api"}
	for _, row := range answer.Query.RecentChanges {
		r.add(row)
	}
	return r, nil
}

// recorder keeps the datagrams of one socket, or the rows of the API.
type recorder struct {
	dialect mediawiki.Dialect
	conn    *net.UDPConn

	file               []byte
	datagrams, largest int
	err                error
}

func newRecorder(d mediawiki.Dialect) (*recorder, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	return &recorder{dialect: d, conn: conn}, conn.SetReadBuffer(4 << 20)
}

// run records until the deadline that stop sets.
func (r *recorder) run() {
	defer r.conn.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := r.conn.Read(b)
		if err != nil {
			if e, ok := err.(net.Error); !ok || !e.Timeout() {
				r.err = err
			}
			return
		}
		r.add(b[:n])
	}
}

func (r *recorder) add(b []byte) {
	r.file = binary.BigEndian.AppendUint32(r.file, uint32(len(b)))
	r.file = append(r.file, b...)
	r.datagrams++
	r.largest = max(r.largest, len(b))
}

// stop gives run a second to read what is in the socket: the wiki has sent everything by the time it is called.
func (r *recorder) stop() { r.conn.SetReadDeadline(time.Now().Add(time.Second)) }
