//go:build interop && linux

package interop_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings/interop/xmpppeer"
)

// pubSubRound is what a client says that goes through the round of mode pubsub.
type pubSubRound struct {
	publishes, creates bool // else the service has to answer forbidden
	pages              int  // of the five items that are there, two on each
	told               []string
}

// goRound runs a client through the round at a node with the items item-1 to item-5, has two more published, item-6 and item-7,
// and reports what the service lets it do.
func goRound(ctx context.Context, t *testing.T, c *xmppClient, host xmppHost, user, password, target string, publish func(n int)) (r pubSubRound) {
	t.Helper()
	_, node, _ := strings.Cut(target, "/")
	s := c.start(t, host, "pubsub", user, password, target, "2")
	s.until(ctx, "online")
	s.until(ctx, "subscribed", "item") // which may come with the last item
	items := s.until(ctx, "items", "item")
	slices.Sort(items.IDs)
	if want := []string{"item-1", "item-2", "item-3", "item-4", "item-5"}; !slices.Equal(items.IDs, want) {
		t.Errorf("it fetches %q", items.IDs)
	}
	r.pages = items.Pages
	own := ""
	for {
		e, err := s.next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		switch e.Event {
		case "published":
			r.publishes = true
		case "created":
			r.creates = true
			if own = e.Node; !strings.HasPrefix(own, node+"-") {
				t.Errorf("it has created %q", own)
			}
		case "refused":
			// Accounts of other servers would have to register (XEP-0060 section 8.1.3).
			if e.Condition != "forbidden" && (e.Action != "create" || e.Condition != "registration-required") {
				t.Errorf("it may not %s, because of %q", e.Action, e.Condition)
			}
		case "configured":
			if e.Node != own || e.MaxItems != "7" {
				t.Errorf("the configuration of %q is %+v", own, e)
			}
		case "configuration", "deleted":
			if e.Node != own {
				t.Errorf("it is told of %+v", e)
			}
			r.told = append(r.told, e.Event)
		case "item":
		case "ready":
			for n := 6; n <= 7; n++ {
				publish(n)
				i := s.until(ctx, "item")
				if i.Node != node || i.ID != fmt.Sprintf("item-%d", n) || i.RC["title"] != fmt.Sprintf("Bed %d", n) || i.RC["type"] != "edit" {
					t.Errorf("item %d came as %+v", n, i)
				}
			}
			s.ended(ctx)
			return r
		default:
			t.Fatalf("it says %+v", e)
		}
	}
}

// pubSubRounds has a client go through the round at a node that is not its own, as anna, and at one that is, as the owner, at
// pubsub.DOMAIN. The names of nodes begin with a text. The way in which the service publishes items besides, if it has one, is
// taken in turns.
func pubSubRounds(ctx context.Context, t *testing.T, c *xmppClient, host xmppHost, domain, begin string, besides func(node string, n int), want func(user string) pubSubRound) {
	t.Helper()
	for _, user := range []string{"anna", xmpppeer.Owner} {
		node := begin + user
		target := "pubsub." + domain + "/" + node
		feed := newSpeaker(t, host, "feed", xmpppeer.Owner+"@"+domain+"/feed", xmppPassword, target)
		feed.until(ctx, "created", "online")
		publish := func(n int) {
			if besides != nil && n%2 == 0 {
				besides(node, n)
				return
			}
			feed.say("item-%d %s", n, gardenEntry(n))
			feed.until(ctx, "published")
		}
		for n := 1; n <= 5; n++ {
			publish(n)
		}
		got, want := goRound(ctx, t, c, host, user+"@"+domain+"/reader", xmppPassword, target, publish), want(user)
		if got.publishes != want.publishes || got.creates != want.creates || got.pages != want.pages || !slices.Equal(got.told, want.told) {
			t.Errorf("%s: the round went %+v, and has to go %+v", user, got, want)
		}
		feed.in.Close()
	}
}

// tidingsRound is how the round goes with Tidings, whatever is between.
func tidingsRound(user string) pubSubRound {
	return pubSubRound{publishes: user == xmpppeer.Owner, creates: true, pages: 3, told: []string{"configuration", "deleted"}}
}

// publishOver returns what publishes item-n of a node over HTTP, as often as it takes: while the server is away it waits.
func (s *server) publishOver(ctx context.Context) func(node string, n int) error {
	token := s.token("publish:/**")
	return func(node string, n int) error {
		for {
			if err := s.await(ctx); err != nil {
				return err
			}
			status, answer, err := s.publishOnce(ctx, token, node, n)
			switch {
			case err == nil && (status == http.StatusCreated || status == http.StatusOK):
				return nil
			case ctx.Err() != nil || err == nil && status < 500:
				return fmt.Errorf("publishing item-%d over HTTP: %d: %s: %w", n, status, answer, errors.Join(err, ctx.Err()))
			}
		}
	}
}

// must fails the test where something that publishes did.
func must(t *testing.T, publish func(node string, n int) error) func(node string, n int) {
	return func(node string, n int) {
		t.Helper()
		if err := publish(node, n); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *server) publishOnce(ctx context.Context, token, node string, n int) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/topics"+node, strings.NewReader(gardenEntry(n)))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/atom+xml;type=entry")
	req.Header.Set("Item-ID", fmt.Sprintf("item-%d", n))
	req.Header.Set("Idempotency-Key", fmt.Sprintf("%s/%d", node, n))
	resp, err := visitor.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// gardenEntry is what is published as item-n.
func gardenEntry(n int) string {
	return fmt.Sprintf(`<entry xmlns="http://www.w3.org/2005/Atom"><title>Bed %d</title><rc xmlns="" type="edit" title="Bed %[1]d"/></entry>`, n)
}

// TestXMPPPubSub: programs of others subscribe to nodes and get items, which come over XMPP and over HTTP; fetch them in
// pages, publish where they may and nowhere else, and have nodes of their own.
func TestXMPPPubSub(t *testing.T) {
	t.Parallel()
	need(t, "slixmpp", debianPython("slixmpp")())
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	s := newServer(t, "")
	s.accounts(t, "anna", xmpppeer.Owner)
	for i, c := range xmppClients {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.name, c.missing())
			pubSubRounds(ctx, t, c, s.host(), "localhost", fmt.Sprintf("/garden/%d-", i), must(t, s.publishOver(ctx)), tidingsRound)
		})
	}
}

// TestXMPPPubSubElsewhere: the clients go through the round of PubSub with the services of Prosody and ejabberd.
func TestXMPPPubSubElsewhere(t *testing.T) {
	eachPeer(t, 4*time.Minute, func(ctx context.Context, t *testing.T, name string) {
		s := peer(t, name, xmpppeer.Options{Accounts: map[string]string{"anna": xmppPassword, xmpppeer.Owner: xmppPassword}})
		want := func(user string) pubSubRound {
			if name == "ejabberd" { // it lets everybody create nodes, has pages, and tells of configurations
				return tidingsRound(user)
			}
			if user != xmpppeer.Owner {
				return pubSubRound{pages: 1}
			}
			return pubSubRound{publishes: true, creates: true, pages: 1, told: []string{"deleted"}}
		}
		for i, c := range xmppClients {
			t.Run(c.name, func(t *testing.T) {
				need(t, c.name, c.missing())
				pubSubRounds(ctx, t, c, xmppHost{s.C2S, s.WebSocket}, xmpppeer.Domain, fmt.Sprintf("garden-%d-", i), nil, want)
			})
		}
	})
}
