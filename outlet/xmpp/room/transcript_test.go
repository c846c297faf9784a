package room_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"

	"tidings"
	"tidings/internal/transcript"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/room"
	"tidings/recentchange"
	"tidings/xmpp/server"
	"tidings/xmpp/service/servicetest"
)

// TestTranscripts runs testdata/*.txt, of which each line is a stanza. Beside the directives of package transcript and of
// outlettest.Script, where json, rc and irc stand for MediaWiki's types, they have
//
//	! edit HOST WIKI BOT TITLE     an edit, as MediaWiki's JSON
//	! item TOPIC ID PAYLOAD        a text with an ID
//	! as ADDRESS                   whose the connections opened from now on are (ann@localhost/x)
//	! resume                       the current connection's session is resumed
//	! away                         the session takes nothing until it is resumed
//	! full yes|no                  the session takes no tasks and no flows
//	! stop                         the server stops
//
// The first two set what publish sets. Sessions whose address begins with anonymous are anonymous. Below /private is private; see
// options for the wikis and rooms.
func TestTranscripts(t *testing.T) {
	transcript.Files(t, "testdata/*.txt", func(t *testing.T) *transcript.Runner {
		t.Parallel()
		w := newWorld(t)
		script := outlettest.NewScript(w, map[string]string{"json": recentchange.TypeJSON, "rc": recentchange.TypeRC, "irc": recentchange.TypeIRC})
		f := &fixture{script: script, srv: newServer(t, options(w))}
		script.Vars["room"] = "w1@conference.localhost"
		maps.Copy(script.Do, map[string]func(map[string]string, string) error{
			"edit": f.edit, "item": f.item, "resume": f.resume, "away": f.away, "full": f.full, "stop": f.stop, "as": f.as,
		})
		return &transcript.Runner{Dial: f.dial, Vars: script.Vars, Do: script.Do}
	})
}

type fixture struct {
	script *outlettest.Script
	srv    *room.Server
	who    string // the address of the next connection
	last   *conn
}

// dial opens a connection for the address that "as" has named.
func (f *fixture) dial() (net.Conn, error) {
	who := f.who
	if who == "" {
		who = "ann@localhost/x"
	}
	f.last = &conn{Peer: newPeer(f.script.T, f.srv, who)}
	return f.last, nil
}

func (f *fixture) as(_ map[string]string, address string) error {
	f.who = address
	return nil
}

func (f *fixture) edit(vars map[string]string, args string) error {
	a := strings.SplitN(args, " ", 4)
	if len(a) < 4 {
		return fmt.Errorf("want a host, a wiki, a boolean and a title")
	}
	return f.script.Event(vars, tidings.Event{Topic: tidings.Topic("/recentchange/" + a[0]), ContentType: recentchange.TypeJSON,
		Payload: fmt.Appendf(nil, `{"id":7,"type":"edit","namespace":0,"title":%q,"comment":"","timestamp":1772600767,`+
			`"user":"Ann","bot":%s,"minor":false,"length":{"old":1,"new":9},"revision":{"old":1,"new":2},`+
			`"server_url":"https://%[3]s","server_name":%[3]q,"server_script_path":"/w","wiki":%[4]q}`, a[3], a[2], a[0], a[1])})
}

func (f *fixture) item(vars map[string]string, args string) error {
	a := strings.SplitN(args, " ", 3)
	return f.script.Event(vars, tidings.Event{Topic: tidings.Topic(a[0]), ID: a[1], ContentType: "text/plain", Payload: []byte(a[2])})
}

func (f *fixture) away(map[string]string, string) error {
	servicetest.Run(f.last.Peer)
	f.last.Mute = true
	return nil
}

func (f *fixture) resume(map[string]string, string) error {
	f.last.Mute = false
	f.last.Resume()
	return nil
}

func (f *fixture) full(_ map[string]string, yes string) error {
	servicetest.Run(f.last.Peer)
	f.last.Refuse = nil
	if yes == "yes" {
		f.last.Refuse = server.ErrTooManyFlows
	}
	return nil
}

func (f *fixture) stop(map[string]string, string) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nobody reads meanwhile
	f.srv.Stop(ctx)
	return nil
}
