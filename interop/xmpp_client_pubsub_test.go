//go:build interop && linux

package interop_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/client"
	"tidings/interop/xmpppeer"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// nodeHost is a server with PubSub at pubsub.localhost, and the accounts anna and owner.
type nodeHost struct {
	c2s       string
	anonymous string // the domain of anonymous logins
	archive   bool
	password  string
	restart   func(t *testing.T)
}

// nodeHosts start the servers whose nodes package client reads.
var nodeHosts = map[string]func(t *testing.T) nodeHost{
	"prosody":  func(t *testing.T) nodeHost { return foreignNodeHost(t, "prosody") },
	"ejabberd": func(t *testing.T) nodeHost { return foreignNodeHost(t, "ejabberd") },
	"tidings": func(t *testing.T) nodeHost {
		s := newServer(t, "")
		s.accounts(t, "anna", xmpppeer.Owner)
		return nodeHost{c2s: s.xmpp, anonymous: "localhost", archive: true, password: xmppPassword, restart: func(*testing.T) {
			s.kill()
			s.start()
		}}
	},
}

func foreignNodeHost(t *testing.T, name string) nodeHost {
	const password = "pa ss"
	s := peer(t, name, xmpppeer.Options{Accounts: map[string]string{"anna": password, xmpppeer.Owner: password}})
	return nodeHost{c2s: s.C2S, anonymous: xmpppeer.Anonymous, password: password, restart: func(t *testing.T) {
		if err := s.Halt(); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}}
}

// url returns the address of a node.
func (h *nodeHost) url(user, node string) string {
	u := url.URL{Scheme: "xmpp", Host: h.anonymous, Path: "/" + xmpppeer.PubSub, RawQuery: ";node=" + node}
	if user != "" {
		u.Host, u.User = "localhost", url.UserPassword(user, h.password)
	}
	return u.String()
}

func (h *nodeHost) client(t *testing.T, user, node, address string, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(h.url(user, node), append(opts, client.WithAddress(address), client.WithBackoff(10*time.Millisecond, 50*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask makes a request of the owner's to the service.
func (h *nodeHost) ask(ctx context.Context, t *testing.T, typ, payload string) xmlstream.Element {
	t.Helper()
	conn, err := dial.Dial(ctx, dial.Config{JID: jid.MustParse(xmpppeer.Owner + "@localhost"), Password: h.password, Address: h.c2s})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ans, err := conn.Request(ctx, typ, jid.MustParse(xmpppeer.PubSub), []byte(payload))
	if err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	return ans.Payload()
}

// itemReader reads a node in the background.
type itemReader struct {
	t    *testing.T
	up   chan struct{}
	got  chan any // client.Event or error
	stop func()
}

func (h *nodeHost) read(ctx context.Context, t *testing.T, user, node, address string, from client.From) *itemReader {
	r := &itemReader{t: t, up: make(chan struct{}, 1000), got: make(chan any, 10_000)}
	c := h.client(t, user, node, address, client.WithNotify(func(n client.Notice) {
		if n.Err == nil {
			r.up <- struct{}{}
		}
	}))
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range c.Events(ctx, nil, from) {
			if err != nil {
				r.got <- err
			} else {
				r.got <- e
			}
		}
	}()
	r.stop = func() { cancel(); <-done }
	t.Cleanup(r.stop)
	return r
}

func (r *itemReader) connected(ctx context.Context) {
	r.t.Helper()
	select {
	case <-r.up:
	case v := <-r.got:
		r.t.Fatalf("%+v came before there was a connection", v)
	case <-ctx.Done():
		r.t.Fatal("there is no connection")
	}
}

func (r *itemReader) event(ctx context.Context) client.Event {
	r.t.Helper()
	select {
	case v := <-r.got:
		if e, ok := v.(client.Event); ok {
			return e
		}
		r.t.Fatalf("in place of an item: %v", v)
	case <-ctx.Done():
		r.t.Fatal("nothing comes")
	}
	return client.Event{}
}

func (r *itemReader) err(ctx context.Context) error {
	r.t.Helper()
	select {
	case v := <-r.got:
		if err, ok := v.(error); ok {
			return err
		}
		r.t.Fatalf("in place of an error: %+v", v)
	case <-ctx.Done():
		r.t.Fatal("nothing comes")
	}
	return nil
}

// TestClientPubSub: package client publishes on a node and reads it, each item once and in order, through broken connections and
// a restart, and leaves nothing behind: with Prosody's PubSub, with ejabberd's and with ours.
func TestClientPubSub(t *testing.T) {
	for name, start := range nodeHosts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			h := start(t)
			h.ask(ctx, t, stanza.TypeSet, `<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='garden'/></pubsub>`)
			owner := h.client(t, xmpppeer.Owner, "garden", h.c2s)
			defer func() { owner.Close() }()
			sent := 0
			publish := func(n int) {
				t.Helper()
				for range n {
					sent++
					id := fmt.Sprint("bed-", sent)
					r, err := owner.Publish(ctx, "", client.Publication{ID: id, Payload: fmt.Appendf(nil, `{"bed":%d}`, sent)})
					if err != nil || r.ID != id {
						t.Fatalf("publishing %s: %+v, %v", id, r, err)
					}
				}
			}
			seen := 0
			expect := func(r *itemReader, n int) {
				t.Helper()
				for range n {
					seen++
					if e := r.event(ctx); e.ID != fmt.Sprint("bed-", seen) || string(e.Payload) != fmt.Sprintf(`{"bed":%d}`, seen) || e.Topic != "/~garden" || e.Position.IsZero() == h.archive {
						t.Fatalf("item %d came as %+v %s", seen, e, e.Payload)
					}
				}
			}

			publish(3)
			seen = sent
			proxy := newCutter(t, h.c2s)
			reader := h.read(ctx, t, "anna", "garden", proxy.Addr().String(), client.Live)
			reader.connected(ctx)
			for range 8 { // resumed by XEP-0198
				publish(5)
				expect(reader, 3)
				proxy.cut()
				publish(5)
				expect(reader, 7)
			}
			h.restart(t) // the sessions are gone
			publish(20)
			expect(reader, 20)
			proxy.cut()
			publish(5)
			expect(reader, 5)

			anonymous := h.read(ctx, t, "", "garden", h.c2s, client.Live)
			anonymous.connected(ctx)
			for _, p := range []client.Publication{
				{ID: "rc", ContentType: "application/vnd.mediawiki.rc+xml", Payload: []byte(`<rc type="edit" title="Bed &amp; 1" rcid="7" timestamp="2026-03-04T05:06:07Z"/>`)},
				{ID: "entry", ContentType: "application/atom+xml;type=entry", Payload: []byte(`<entry xmlns="http://www.w3.org/2005/Atom"><title>Bed</title></entry>`)},
				{ID: "xml", ContentType: "application/xml", Payload: []byte(`<bed xmlns="urn:garden"><rose/></bed>`)},
				{ID: "text", ContentType: "text/plain; charset=utf-8", Payload: []byte("a <rose>\n& more")},
				{ID: "bytes", ContentType: "image/png", Payload: []byte("\x89PNG\x00")},
			} {
				if _, err := owner.Publish(ctx, "/~garden", p); err != nil {
					t.Fatal(err)
				}
				for _, r := range []*itemReader{reader, anonymous} {
					e := r.event(ctx)
					// Servers may write the same XML in other words, and attributes in any order.
					got, want := strings.ReplaceAll(string(e.Payload), "'", `"`), string(p.Payload)
					if e.ID != p.ID || e.ContentType != p.ContentType || got != want && p.ID != "rc" {
						t.Errorf("%s came as %+v %q", p.ID, e, e.Payload)
					}
					if rc, ok := e.RecentChange(); p.ID == "rc" && (!ok || rc.ID != 7 || rc.Title != "Bed & 1" || rc.Time.Unix() != 1772600767) {
						t.Errorf("%+v, %v", rc, ok)
					}
				}
			}

			// What was there before.
			past := h.read(ctx, t, "anna", "garden", h.c2s, client.Since(time.Now().Add(-time.Hour)))
			if h.archive {
				seen = 0
				expect(past, sent)
			} else if err := past.err(ctx); !errors.Is(err, tidings.ErrInvalid) || !strings.Contains(err.Error(), "no archive") {
				t.Errorf("%v", err)
			}
			past.stop()
			if !h.archive {
				past = h.read(ctx, t, "anna", "garden", h.c2s, client.AfterID(fmt.Sprint("bed-", sent-2)))
				seen = sent - 2
				expect(past, 2)
				past.stop()
			}

			// Who may not, and what is not there.
			if _, err := h.client(t, "anna", "garden", h.c2s).Publish(ctx, "", client.Publication{Payload: []byte("1")}); !errors.Is(err, tidings.ErrForbidden) {
				t.Errorf("anna publishes: %v", err)
			}
			if _, err := owner.Publish(ctx, "", client.Publication{Payload: []byte("1"), Options: map[string]string{"access_model": "whitelist"}}); !errors.Is(err, tidings.ErrConflict) {
				t.Errorf("a precondition: %v", err)
			}
			if err := h.read(ctx, t, "anna", "nothing", h.c2s, client.Live).err(ctx); !errors.Is(err, tidings.ErrNotFound) {
				t.Errorf("no node: %v", err)
			}

			h.commands(ctx, t)
			if !h.archive {
				h.personal(ctx, t)
			}
			reader.stop()
			anonymous.stop()
			for {
				left := h.ask(ctx, t, stanza.TypeGet, `<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><subscriptions node='garden'/></pubsub>`)
				if !strings.Contains(string(left.Raw()), "@"+h.anonymous) && !strings.Contains(string(left.Raw()), "anna@") {
					break
				}
				if ctx.Err() != nil {
					t.Fatalf("it leaves behind %s", left.Raw())
				}
			}
			owner.Close()
		})
	}
}

// personal publishes on a node of the account's own (XEP-0163) and reads it.
func (h *nodeHost) personal(ctx context.Context, t *testing.T) {
	t.Helper()
	u := url.URL{Scheme: "xmpp", User: url.UserPassword("anna", h.password), Host: "localhost", Path: "/anna@localhost", RawQuery: ";node=notes"}
	c, err := client.New(u.String(), client.WithAddress(h.c2s))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { c.Close() }()
	for n := range 3 {
		if r, err := c.Publish(ctx, "", client.Publication{ID: "now", Payload: fmt.Append(nil, n)}); err != nil || r.ID != "now" {
			t.Fatalf("%+v, %v", r, err)
		}
		for e, err := range c.Events(ctx, nil, client.AfterID("nothing")) {
			if errors.Is(err, tidings.ErrGap) {
				continue
			}
			if err != nil || e.ID != "now" || string(e.Payload) != fmt.Sprint(n) || e.Topic != "/~notes" {
				t.Errorf("%+v %s, %v", e, e.Payload, err)
			}
			break
		}
	}
}

// commands has tidings publish and tidings tail do the same: what is kept of the past is read behind a gap, as the position is of
// no archive here.
func (h *nodeHost) commands(ctx context.Context, t *testing.T) {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	h.ask(ctx, t, stanza.TypeSet, `<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='shed'/></pubsub>`)
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(h.password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (stdout, stderr string, err error) {
		var out, errs strings.Builder
		cmd := exec.CommandContext(ctx, bin, args...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		err = cmd.Run()
		return out.String(), errs.String(), err
	}
	owner, anna := "xmpp://"+xmpppeer.Owner+"@"+h.c2s, "xmpp://anna@"+h.c2s+"/"+xmpppeer.PubSub
	if out, errs, err := run("publish", "--password-file", secret, "--node", "shed", "--id", "spade", owner, `{"cli":true}`); err != nil || out != "spade\n" {
		t.Errorf("publish prints %q, %q, %v", out, errs, err)
	}
	if out, errs, err := run("tail", "--password-file", secret, "--node", "shed", "--from", "00000001-1", "--limit", "1", "--format", "raw", anna); err != nil || out != `{"cli":true}`+"\n" || !strings.Contains(errs, "tidings: gap: ") {
		t.Errorf("tail prints %q, %q, %v", out, errs, err)
	}
	if _, errs, err := run("publish", "--password-file", secret, "--node", "shed", anna, "7"); err == nil || !strings.Contains(errs, "forbidden") || !strings.Contains(errs, "hint: have an owner of the node") {
		t.Errorf("publish by anna: %q, %v", errs, err)
	}
}
