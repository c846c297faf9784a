//go:build linux

// Loadgen measures fan-out in the same way for every server: it opens subscribers over one protocol, publishes through
// the server's own interface, counts each event at each subscriber, and reads the cost from the server's processes.
//
//	loadgen -addr 127.0.0.1:8080 -path '/topics/x?format=sse' -pubto http://127.0.0.1:8080/topics/x \
//	        -pubheader 'Authorization: Bearer T' -conns 2000 -events 200 -window 1 -pid 123
//
// Closed loop (-window W): an event is in flight until it is acknowledged and delivered to all it is for; W are at any
// time. Open loop (-rate R): event k is due at k/R seconds, and its latency counts from then, sent late or not.
// With several topics, {n} in -path, -topic, -node, -pubto and -body is the topic's number; subscriber i has topic i mod T, and so has
// event i. With -memory 2000,15000 nothing is published: the server's memory is read at each number of subscribers.
//
// It prints one line of JSON (measure.Result). Exit code 0: every event was published and delivered exactly once to
// everyone; 1: it was not, or something failed; 2: usage.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	label       string
	proto       string
	addr        string
	server      netip.AddrPort
	path        string
	otherPath   string
	headers     list
	await       string
	topic       string
	node        string
	digest      bool
	jid         string
	password    string
	tls         bool
	bare        bool
	pub         string
	pubTo       string
	pubHeaders  list
	pubJID      string
	pubPassword string
	contentType string
	body        string
	pubConns    int
	rcid        int64
	conns       int
	bystanders  int
	stalled     int
	topics      int
	events      int
	size        int
	window      int
	rate        float64
	memory      ints
	pids        ints
	settle      time.Duration
	patience    time.Duration
	sources     int
	parallel    int
	samplePSS   bool

	addresses *addresses // of subscribers, for publishers that have to know them
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// ints is a flag of comma separated numbers.
type ints []int

func (l *ints) String() string { return fmt.Sprint(*l) }
func (l *ints) Set(s string) error {
	*l = nil
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no positive number", f)
		}
		*l = append(*l, n)
	}
	return nil
}

func parseOptions(args []string, out io.Writer) (*options, error) {
	o := &options{addresses: &addresses{}}
	f := flag.NewFlagSet("loadgen", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&o.label, "label", "", "name printed in the result")
	f.StringVar(&o.proto, "proto", "sse", "how to subscribe: "+strings.Join(slices.Sorted(maps.Keys(protocols)), ", "))
	f.StringVar(&o.addr, "addr", "127.0.0.1:8080", "IPv4 address and port for subscribers")
	f.StringVar(&o.path, "path", "/", "sse, ws: path and query of the subscription")
	f.StringVar(&o.topic, "topic", "", "sio09: host or pattern to subscribe to; sio4: topic or pattern; irc: channel; xmpp: room, or service of -node; none with -pub component or client")
	f.StringVar(&o.node, "node", "", "xmpp: PubSub node to subscribe to, in place of joining a room; component, client: to notify of, in place of sending messages with a body")
	f.BoolVar(&o.digest, "digest", false, "xmpp: ask for digests of the node's notifications (pubsub#digest)")
	f.StringVar(&o.jid, "jid", "localhost", "xmpp: account of all subscribers, or a domain for SASL ANONYMOUS")
	f.StringVar(&o.password, "password", "", "xmpp: of -jid")
	f.BoolVar(&o.tls, "tls", false, "xmpp: subscribe over STARTTLS")
	f.BoolVar(&o.bare, "bare", false, "xmpp: what is sent to a session by its address goes to its bare JID, which needs sessions with an account each, or anonymous ones")
	f.StringVar(&o.otherPath, "otherpath", "", "sse, ws: -path for bystanders")
	f.Var(&o.headers, "header", "header line of the subscription over HTTP; may be repeated")
	f.StringVar(&o.await, "await", "", "sse, ws: what the stream begins with once it is subscribed")
	f.StringVar(&o.pub, "pub", "http", "how to publish: http, raw, udp (MediaWiki changes), xmpp (into the rooms or to the nodes), component or client (to each session)")
	f.StringVar(&o.pubTo, "pubto", "", "where to publish: a URL, or host:port for all but http")
	f.StringVar(&o.pubJID, "pubjid", "", "xmpp, client: account that publishes; component: its domain")
	f.StringVar(&o.pubPassword, "pubpassword", "", "of -pubjid")
	f.Var(&o.pubHeaders, "pubheader", "http: header line of each publish; may be repeated")
	f.StringVar(&o.contentType, "pubtype", "text/plain", "http: content type of each publish")
	f.StringVar(&o.body, "body", "{text}", "http: what to post; {text} is the event's text")
	f.IntVar(&o.pubConns, "pubconns", 0, "connections to publish over, one event at a time each (0: -window for http, else 1)")
	f.Int64Var(&o.rcid, "rcid", time.Now().UnixMicro(), "udp: rcid of the first change; the next have the next numbers")
	f.IntVar(&o.conns, "conns", 100, "subscribers; with 0 the acknowledgements are measured")
	f.IntVar(&o.bystanders, "bystanders", 0, "further subscribers, of -otherpath, to whom nothing is published")
	f.IntVar(&o.stalled, "stalled", 0, "further subscribers, of -path, that never read")
	f.IntVar(&o.topics, "topics", 1, "topics")
	f.IntVar(&o.events, "events", 100, "events to publish")
	f.IntVar(&o.size, "size", 512, "bytes of event text; udp: of the datagram")
	f.IntVar(&o.window, "window", 1, "closed loop: events in flight")
	f.Float64Var(&o.rate, "rate", 0, "open loop: events a second")
	f.Var(&o.memory, "memory", "only measure memory, at these numbers of subscribers, such as 2000,15000")
	f.Var(&o.pids, "pid", "server process ids, comma separated; children are included")
	f.DurationVar(&o.settle, "settle", 2*time.Second, "time for the server to come to rest before its memory is read")
	f.DurationVar(&o.patience, "patience", 15*time.Second, "give up after so long without a delivery or acknowledgement")
	f.IntVar(&o.sources, "sources", 100, "addresses from 127.0.0.2 up that subscribers connect from")
	f.IntVar(&o.parallel, "parallel", 16, "handshakes at a time")
	f.BoolVar(&o.samplePSS, "samplepss", false, "sample the server's memory during delivery and report its peak")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, o.check()
}

// headerLines returns -header as lines of an HTTP request.
func (o *options) headerLines() string {
	var b strings.Builder
	for _, h := range o.headers {
		b.WriteString(h + "\r\n")
	}
	return b.String()
}

func (o *options) check() error {
	var err error
	if o.server, err = netip.ParseAddrPort(o.addr); err != nil || !o.server.Addr().Is4() {
		return fmt.Errorf("-addr %q is no IPv4 address with a port", o.addr)
	}
	switch {
	case o.size < markBytes:
		return fmt.Errorf("-size %d is less than a mark's %d bytes", o.size, markBytes)
	case o.events < 1 || o.events > maxEvents:
		return fmt.Errorf("-events has to be 1 to %d", maxEvents)
	case o.topics < 1 || o.window < 1 || o.parallel < 1 || o.sources < 1:
		return errors.New("-topics, -window, -parallel and -sources have to be at least 1")
	case o.conns < 0 || o.bystanders < 0 || o.stalled < 0 || o.pubConns < 0 || o.rate < 0:
		return errors.New("a number of connections or a rate is negative")
	case o.bystanders > 0 && o.otherPath == "" && o.proto != "raw":
		return errors.New("-bystanders need an -otherpath")
	case len(o.memory) > 0 && (len(o.memory) != 2 || o.memory[0] >= o.memory[1] || len(o.pids) == 0):
		return errors.New("-memory needs two rising numbers of subscribers, and -pid")
	case len(o.memory) == 0 && o.pubTo == "":
		return errors.New("-pubto is missing")
	}
	if o.pubConns == 0 {
		o.pubConns = 1
		if o.pub == "http" {
			o.pubConns = o.window
		}
	}
	return nil
}

func main() {
	o, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(2)
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	if err := raiseFileLimit(); err != nil {
		return err
	}
	measure := deliver
	if len(o.memory) > 0 {
		measure = memory
	}
	r, err := measure(o)
	if err != nil {
		return err
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	if !r.Complete() {
		return fmt.Errorf("incomplete: %d of %d deliveries, %d repeated, %d connections closed, %d publishes failed",
			r.Delivered, r.Expected, r.Repeated, r.Closed, r.PubErrors)
	}
	return nil
}

// raiseFileLimit raises the number of descriptors to what the system allows.
func raiseFileLimit() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	return nil
}
