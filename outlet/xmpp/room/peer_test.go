package room_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/room"
	"tidings/recentchange"
	"tidings/xmpp/service"
	"tidings/xmpp/service/servicetest"
)

// wikis are those of the configuration; f1 and f2 are two on one host.
var wikis = recentchange.Wikis{
	"w1":    {ServerName: "w1.example.org", ServerURL: "https://w1.example.org", ScriptPath: "/w"},
	"f1":    {ServerName: "farm.example.org", ScriptPath: "/f1"},
	"f2":    {ServerName: "farm.example.org", ScriptPath: "/f2"},
	"Upper": {ServerName: "upper.example.org"},
}

// newWorld returns a world whose events below /recentchange and /brief are removed by Trim.
func newWorld(t *testing.T) *outlettest.World {
	return outlettest.NewMemory(t, hub.Options{Decode: outlet.Decoder(wikis)}, edge.Options{})
}

func options(w *outlettest.World) room.Options {
	return room.Options{
		Hub: w.Hub, Edge: w.Edge, Authenticate: w.Policy.Authenticate, May: w.Policy.May, Audience: w.Policy.Audience,
		Topics: w.Topics,
		WikiOf: func(ctx context.Context, t tidings.Topic) (string, error) {
			e, err := w.Journal.Last(ctx, t)
			if err != nil {
				return "", err
			}
			rc, _ := outlet.Decoder(nil)(&e).(*recentchange.RecentChange)
			if rc == nil {
				return "", nil
			}
			return rc.Wiki.Value(), nil
		},
		Wikis: wikis,
		Rooms: map[string]room.Room{
			"mixed":  {Title: "News & sport", Patterns: []tidings.Pattern{tidings.MustPattern("/news/**"), tidings.MustPattern("/sport")}},
			"secret": {Patterns: []tidings.Pattern{tidings.MustPattern("/private/x")}},
			"brief":  {Patterns: []tidings.Pattern{tidings.MustPattern("/brief/**")}},
		},
		Domain:  "conference.localhost",
		Version: "test-1",
	}
}

func newServer(t testing.TB, o room.Options) *room.Server {
	t.Helper()
	s, err := room.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newPeer returns a peer of the rooms; those whose address begins with anonymous are.
func newPeer(t testing.TB, svc service.Service, address string) *servicetest.Peer {
	return servicetest.New(t, svc, "conference.localhost", address, strings.HasPrefix(address, "anonymous"))
}

// conn is a peer as a connection of lines, for transcripts: one stanza to a line.
type conn struct {
	*servicetest.Peer
	pending []byte
}

func (c *conn) Write(b []byte) (int, error) {
	if text := strings.TrimSpace(string(b)); text != "" {
		c.Say(text)
	}
	return len(b), nil
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.pending) == 0 {
		servicetest.Run(c.Peer)
		for i := range c.Out {
			c.pending = append(append(c.pending, bytes.ReplaceAll(c.Out[i].Element.Raw(), []byte("\n"), []byte("&#xA;"))...), "\r\n"...)
		}
		c.Out = nil
	}
	if len(c.pending) == 0 {
		return 0, fmt.Errorf("nothing more is said: %w", io.ErrNoProgress)
	}
	n := copy(b, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

func (c *conn) Close() error                     { c.Gone(); return nil }
func (c *conn) LocalAddr() net.Addr              { return nil }
func (c *conn) RemoteAddr() net.Addr             { return nil }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
