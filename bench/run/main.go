//go:build linux

// Run is `make bench`: it starts this tree's server and its peers one after the other, drives each with bench/loadgen, and
// prints what they cost as Markdown tables with ratios and targets. See bench/README.md.
//
//	go run ./bench/run                          everything, about 40 minutes
//	go run ./bench/run -scenario fanout,window  some scenarios
//	go run ./bench/run -quick                   all of them small, about a minute, judged by delivery only
//
// Exit code 0: everything was delivered; 1: something was not, or with -strict a target was missed; 2: usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags. -quick changes the defaults of the sizes.
type options struct {
	scenarios []string
	servers   []string
	quick     bool
	strict    bool
	repeat    int
	small     int // subscribers
	large     int
	volume    int // deliveries of one fan-out run
	million   float64
	ingestFor time.Duration
	rate      int
	binary    string
	results   string
	keep      bool
}

var scenarios = []struct {
	name string
	what string
	run  func(context.Context, *bench) error
}{
	{"fanout", "one event in flight to all subscribers of a topic", fanout},
	{"window", "32 events in flight", window},
	{"memory", "memory of an idle subscriber", memory},
	{"topics", "cost of an event among many topics and subscribers", topics},
	{"ingest", "MediaWiki changes over UDP", ingest},
	{"publish", "publishing over HTTP with fsync", publish},
	{"start", "time until ready", start},
	{"stalled", "readers that never read", stalled},
	{"websocket", "a topic over WebSockets", overWebSocket.measure},
	{"socketio09", "changes over Socket.IO 0.9, as RCStream", overSocketIO09.measure},
	{"socketio4", "a topic over Socket.IO 4", overSocketIO4.measure},
	{"irc", "changes over IRC", overIRC.measure},
	{"filters", "subscribers with filter expressions", filters},
	{"rooms", "a room over XMPP", inRooms.measure},
	{"pubsub", "a PubSub node over XMPP", onNodes.measure},
	{"nodes", "a server with many PubSub nodes", nodes},
	{"component", "messages of a component through servers of others", component},
}

func parseOptions(args []string, out io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	f.SetOutput(out)
	var all, peers []string
	for _, s := range scenarios {
		all = append(all, s.name)
	}
	for _, s := range servers {
		peers = append(peers, s.name)
	}
	pick := f.String("scenario", strings.Join(all, ","), "scenarios, comma separated")
	against := f.String("servers", strings.Join(peers, ","), "servers, comma separated; with -quick rawfan,tidings if not given")
	f.BoolVar(&o.quick, "quick", false, "small sizes, and no target but delivery: for CI")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 when a target is missed")
	f.IntVar(&o.repeat, "repeat", 3, "runs of each fan-out, of which the best counts")
	f.IntVar(&o.small, "small", 2000, "subscribers of the small runs")
	f.IntVar(&o.large, "large", 15000, "subscribers of the large runs")
	f.IntVar(&o.volume, "volume", 600_000, "deliveries of one fan-out run with one event in flight")
	f.Float64Var(&o.million, "million", 1, "start: million events in the journal")
	f.DurationVar(&o.ingestFor, "ingest", 30*time.Second, "ingest: how long")
	f.IntVar(&o.rate, "rate", 20_000, "ingest: changes a second")
	f.StringVar(&o.binary, "tidings", "", "measure this program instead of building cmd/tidings, for comparing two builds")
	f.StringVar(&o.results, "results", "", "folder for the results (default bench/results in the module)")
	f.BoolVar(&o.keep, "keep", false, "keep the servers' data and logs")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	given := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	if o.quick {
		for name, set := range map[string]func(){
			"repeat":  func() { o.repeat = 1 },
			"small":   func() { o.small = 200 },
			"large":   func() { o.large = 1000 },
			"volume":  func() { o.volume = 20_000 },
			"million": func() { o.million = 0.01 },
			"ingest":  func() { o.ingestFor = 2 * time.Second },
			"rate":    func() { o.rate = 2000 },
			"servers": func() { *against = "rawfan,tidings" }, // the peers are not what is judged, and may have to be built first
		} {
			if !given[name] {
				set()
			}
		}
	}
	var err1, err2 error
	o.scenarios, err1 = choose("scenario", *pick, all)
	o.servers, err2 = choose("server", *against, peers)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if o.repeat < 1 || o.small < 10 || o.large <= o.small || o.volume < 1 || o.million <= 0 || o.rate < 1 || o.ingestFor <= 0 {
		return nil, errors.New("sizes have to be positive, -small at least 10 and -large larger")
	}
	return o, nil
}

// choose splits a comma separated list and checks it against what there is; the result is in the order of all.
func choose(what, list string, all []string) ([]string, error) {
	want := map[string]bool{}
	for s := range strings.SplitSeq(list, ",") {
		want[strings.TrimSpace(s)] = true
	}
	var chosen []string
	for _, s := range all {
		if want[s] {
			chosen = append(chosen, s)
			delete(want, s)
		}
	}
	if len(want) > 0 {
		return nil, fmt.Errorf("no %s is named %s; there are %s", what, slices.Sorted(maps.Keys(want))[0], strings.Join(all, ", "))
	}
	return chosen, nil
}

func main() {
	o, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	began := time.Now()
	for _, s := range scenarios {
		if !slices.Contains(o.scenarios, s.name) {
			continue
		}
		b.begin(s.name, s.what)
		if err := s.run(ctx, b); err != nil {
			b.fail(err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := b.write(time.Since(began)); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case b.failures > 0:
		return fmt.Errorf("%d runs failed or lost events", b.failures)
	case o.strict && b.missed > 0:
		return fmt.Errorf("%d targets missed", b.missed)
	}
	return nil
}

// moduleRoot returns the folder of the go.mod above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory; run it inside the repository")
		}
		dir = parent
	}
}
