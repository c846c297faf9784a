package room_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/transcript"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/room"
	"tidings/recentchange"
)

// TestTranscripts runs testdata/*.txt, of which each line is a stanza. Beside the directives of package transcript they have
//
//	! publish TOPIC TYPE PAYLOAD   payload as it is, or quoted as in Go; json, rc, api and irc stand for MediaWiki's types
//	! edit HOST WIKI BOT TITLE     an edit, as MediaWiki's JSON
//	! item TOPIC ID PAYLOAD        a text with an ID
//	! retract TOPIC ID
//	! trim                         removes what is below /brief and /recentchange
//	! token NAME PATTERN           makes a token that may read the pattern; {{NAME}} is the token
//	! revoke NAME
//	! clock NAME                   {{NAME}} is a time between what was published before and after
//	! as ADDRESS                   whose the connections opened from now on are (ann@localhost/x)
//	! resume                       the current connection's session is resumed
//	! away                         the session takes nothing until it is resumed
//	! full yes|no                  the session takes no tasks and no flows
//	! stop                         the server stops
//
// The first four set {{position}}. {{start}} is the position before all of them and {{epoch}} its epoch. Sessions whose
// address begins with anonymous are anonymous. Below /private is private; see options for the wikis and rooms.
func TestTranscripts(t *testing.T) {
	transcript.Files(t, "testdata/*.txt", func(t *testing.T) *transcript.Runner {
		t.Parallel()
		w := newWorld(t)
		f := &fixture{World: w, srv: newServer(t, options(w)), ids: map[string]string{}}
		start := w.Hub.Head()
		return &transcript.Runner{
			Dial: f.dial,
			Vars: map[string]string{"epoch": fmt.Sprintf("%08x", start.Epoch), "start": start.String(), "room": "w1@conference.localhost"},
			Do: map[string]func(map[string]string, string) error{
				"publish": f.publish, "edit": f.edit, "item": f.item, "retract": f.retract, "trim": f.trim, "token": f.token, "revoke": f.revoke,
				"clock": clock, "resume": f.resume, "away": f.away, "full": f.full, "stop": f.stop, "as": f.as,
			},
		}
	})
}

type fixture struct {
	*outlettest.World
	srv  *room.Server
	ids  map[string]string // of tokens
	who  string            // the address of the next connection
	last *conn
}

// dial opens a connection for the address that "as" has named.
func (f *fixture) dial() (net.Conn, error) {
	who := f.who
	if who == "" {
		who = "ann@localhost/x"
	}
	f.last = &conn{peer: newPeer(f.T, f.srv, who)}
	return f.last, nil
}

func (f *fixture) as(_ map[string]string, address string) error {
	f.who = address
	return nil
}

func (f *fixture) append(vars map[string]string, e tidings.Event) error {
	e.Time = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	r, err := f.Journal.Append(context.Background(), e)
	if err != nil {
		return err
	}
	vars["position"] = r[0].Position.String()
	return f.Hub.Drain(context.Background())
}

func (f *fixture) publish(vars map[string]string, args string) error {
	a := strings.SplitN(args, " ", 3)
	if len(a) < 3 {
		return fmt.Errorf("want a topic, a type and a payload")
	}
	if a[2] != "" && a[2][0] == '"' {
		s, err := strconv.Unquote(a[2])
		if err != nil {
			return err
		}
		a[2] = s
	}
	typ := map[string]string{"json": recentchange.TypeJSON, "rc": recentchange.TypeRC, "irc": recentchange.TypeIRC}[a[1]]
	if typ == "" {
		typ = a[1]
	}
	return f.append(vars, tidings.Event{Topic: tidings.Topic(a[0]), ContentType: typ, Payload: []byte(a[2])})
}

func (f *fixture) edit(vars map[string]string, args string) error {
	a := strings.SplitN(args, " ", 4)
	if len(a) < 4 {
		return fmt.Errorf("want a host, a wiki, a boolean and a title")
	}
	return f.append(vars, tidings.Event{Topic: tidings.Topic("/recentchange/" + a[0]), ContentType: recentchange.TypeJSON,
		Payload: fmt.Appendf(nil, `{"id":7,"type":"edit","namespace":0,"title":%q,"comment":"","timestamp":1772600767,`+
			`"user":"Ann","bot":%s,"minor":false,"length":{"old":1,"new":9},"revision":{"old":1,"new":2},`+
			`"server_url":"https://%[3]s","server_name":%[3]q,"server_script_path":"/w","wiki":%[4]q}`, a[3], a[2], a[0], a[1])})
}

func (f *fixture) item(vars map[string]string, args string) error {
	a := strings.SplitN(args, " ", 3)
	return f.append(vars, tidings.Event{Topic: tidings.Topic(a[0]), ID: a[1], ContentType: "text/plain", Payload: []byte(a[2])})
}

func (f *fixture) retract(vars map[string]string, args string) error {
	topic, id, _ := strings.Cut(args, " ")
	return f.append(vars, tidings.Event{Topic: tidings.Topic(topic), ID: id, Kind: tidings.Retract})
}

func (f *fixture) trim(map[string]string, string) error {
	f.Trim()
	return nil
}

func (f *fixture) token(vars map[string]string, args string) error {
	name, pattern, _ := strings.Cut(args, " ")
	f.ids[name], vars[name] = f.Token(pattern)
	return nil
}

func (f *fixture) revoke(_ map[string]string, name string) error {
	f.Revoke(f.ids[name])
	return nil
}

func (f *fixture) away(map[string]string, string) error {
	f.last.run()
	f.last.mute = true
	return nil
}

func (f *fixture) resume(map[string]string, string) error {
	f.last.mute = false
	f.last.resume()
	return nil
}

func (f *fixture) full(_ map[string]string, yes string) error {
	f.last.run()
	f.last.refuse = yes == "yes"
	return nil
}

func (f *fixture) stop(map[string]string, string) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nobody reads meanwhile
	f.srv.Stop(ctx)
	return nil
}

func clock(vars map[string]string, name string) error {
	vars[name] = nextMilli().UTC().Format("2006-01-02T15:04:05.000Z")
	nextMilli()
	return nil
}

// nextMilli waits for the clock's next millisecond.
func nextMilli() time.Time {
	for was := time.Now().UnixMilli(); ; runtime.Gosched() {
		if now := time.Now(); now.UnixMilli() > was {
			return now
		}
	}
}
