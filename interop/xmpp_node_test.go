//go:build interop && linux

package interop_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// nodeReader is slixmpp following a node in which item-1, item-2 and so on are published. It has to see each in order; what it
// has seen may come again.
type nodeReader struct {
	*xmppSession
	seen, again, archived int
	digests               int      // items that came with others in one notification
	trace                 []string // of events
}

func followNode(ctx context.Context, t *testing.T, host xmppHost, user, password, target string, count int) *nodeReader {
	t.Helper()
	r := &nodeReader{xmppSession: xmppClients[0].start(t, host, "node", user, password, target, fmt.Sprint(count))}
	for r.read(ctx) != "subscribed" {
	}
	return r
}

// untilSeen reads until it has seen item-n.
func (r *nodeReader) untilSeen(ctx context.Context, n int) {
	r.t.Helper()
	for r.seen < n {
		r.read(ctx)
	}
}

// read reads one report and returns its event.
func (r *nodeReader) read(ctx context.Context) string {
	r.t.Helper()
	e, err := r.next(ctx)
	if err != nil {
		r.t.Fatalf("behind item-%d: %v; it said %q", r.seen, err, r.trace)
	}
	r.trace = append(r.trace, strings.TrimSpace(e.Event+" "+e.ID+e.Condition))
	switch e.Event {
	case "closed", "offline", "online", "waiting", "subscribed":
		return e.Event
	case "item":
	default:
		r.t.Fatalf("behind item-%d it says %+v", r.seen, e)
	}
	number := 0
	if _, err := fmt.Sscanf(e.ID, "item-%d", &number); err != nil || e.RC["title"] != fmt.Sprintf("Bed %d", number) {
		r.t.Fatalf("behind item-%d it says %+v", r.seen, e)
	}
	if e.Of > 1 {
		r.digests++
	}
	switch {
	case number == r.seen+1:
		r.seen++
		if e.Archive {
			r.archived++
		}
	case number <= r.seen:
		r.again++
	default:
		r.t.Fatalf("behind item-%d it has got item-%d", r.seen, number)
	}
	return e.Event
}

// stop stops something and starts it again. It calls meanwhile, from where on more items are published while it goes on.
type stop struct {
	do      func(meanwhile func())
	settled bool // all items that were published have been seen when it begins
}

// amid is a stop with items under way from beginning to end.
func amid(do func()) stop {
	return stop{do: func(meanwhile func()) {
		meanwhile()
		do()
	}}
}

// digests is the resource by which the reader of a node asks for them (pubsub#digest).
const digests = "/digests"

// throughStops has users follow a node at pubsub. of a domain while things are stopped and started again. Items are published
// before that, meanwhile and afterwards.
func throughStops(ctx context.Context, t *testing.T, publish func(node string, n int) error, host xmppHost, users []string, domain string, stops ...stop) {
	t.Helper()
	const node, each = "/garden/stops", 30
	n := 0
	more := func(to int) error {
		for n < to {
			n++
			if err := publish(node, n); err != nil {
				return err
			}
		}
		return nil
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(more(1))
	var readers []*nodeReader
	for _, user := range users {
		readers = append(readers, followNode(ctx, t, host, user, xmppPassword, "pubsub."+domain+"/"+node, len(stops)*each))
	}
	seen := func(n int) {
		for _, r := range readers {
			r.untilSeen(ctx, n)
		}
	}
	for i, stop := range stops {
		check(more(i*each + 10))
		underWay := 5
		if stop.settled {
			underWay = 0
		}
		seen(n - underWay)
		published := make(chan error, 1)
		stop.do(func() {
			go func() { published <- more(i*each + 20) }()
		})
		check(<-published)
		check(more((i + 1) * each))
		seen(n)
	}
	for i, r := range readers {
		r.ended(ctx)
		t.Logf("%s: %d items came, %d of them from the node, %d in digests, and %d again", users[i], r.seen, r.archived, r.digests, r.again)
	}
}

// TestXMPPNodeThroughStops: a reader of a node gets each item in order, what it has missed from the node, while the server is
// killed and stopped.
func TestXMPPNodeThroughStops(t *testing.T) {
	t.Parallel()
	need(t, "slixmpp", debianPython("slixmpp")())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s := newServer(t, "")
	s.accounts(t, "anna", "bert")
	kill, halt := amid(func() { s.kill(); s.start() }), amid(func() { s.stop(); s.start() })
	throughStops(ctx, t, s.publishOver(ctx), s.host(), []string{"anna@localhost/reader", "bert@localhost" + digests}, "localhost", kill, halt, kill, halt)
}
