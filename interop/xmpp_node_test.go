//go:build interop && linux

package interop_test

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// nodeReader is slixmpp following a node in which item-1, item-2 and so on are published. It has to see each in order; what it
// has seen may come again.
type nodeReader struct {
	*xmppSession
	seen, again, archived int
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
		r.t.Fatalf("behind item-%d: %v", r.seen, err)
	}
	switch e.Event {
	case "closed", "offline", "online", "waiting", "subscribed":
		return e.Event
	case "item":
	default:
		r.t.Fatalf("behind item-%d it says %+v", r.seen, e)
	}
	number := 0
	if _, err := fmt.Sscanf(e.ID, "item-%d", &number); err != nil || e.RC["title"] != fmt.Sprintf("Bed %d", number) {
		r.t.Fatalf("it has got %+v", e)
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

// TestXMPPNodeThroughStops: a reader of a node gets each item in order, what it has missed from the node, while the server is
// killed and stopped.
func TestXMPPNodeThroughStops(t *testing.T) {
	t.Parallel()
	need(t, "slixmpp", debianPython("slixmpp")())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s := newServer(t, "")
	s.accounts(t, "anna")
	publish := s.publishOver(ctx, t)
	const rounds, each = 4, 25
	publish("/garden/stops", 1, gardenEntry(1))
	r := followNode(ctx, t, s.host(), "anna@localhost/reader", xmppPassword, "pubsub.localhost//garden/stops", rounds*each)
	n := 1
	more := func(to int) {
		for n < to {
			n++
			publish("/garden/stops", n, gardenEntry(n))
		}
	}
	for round := range rounds {
		more(round*each + 10)
		r.untilSeen(ctx, n-5)
		if round%2 == 0 {
			s.kill()
		} else {
			s.stop()
		}
		s.start()
		more((round + 1) * each)
		r.untilSeen(ctx, n)
	}
	r.ended(ctx)
	t.Logf("%d items came, %d of them from the node, and %d again", r.seen, r.archived, r.again)
}
