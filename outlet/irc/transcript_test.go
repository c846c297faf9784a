package irc_test

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
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/transcript"
	"tidings/journal"
	"tidings/outlet"
	"tidings/outlet/irc"
	"tidings/outlet/outlettest"
	"tidings/recentchange"
)

// TestTranscripts runs testdata/*.txt. Beside the directives of package transcript they have
//
//	! publish TOPIC TYPE PAYLOAD   payload as it is, or quoted as in Go; json, rc and irc stand for MediaWiki's types
//	! edit HOST BOT TITLE          an edit, as MediaWiki's JSON
//	! retract TOPIC ID
//	! trim                         removes what is below /brief and /recentchange
//	! token NAME PATTERN           makes a token that may read the pattern; {{NAME}} is the token
//	! revoke NAME
//	! clock NAME                   {{NAME}} is a time between what was published before and after
//	! tick SECONDS                 the server's wheel gets there
//	! stop                         the server stops
//
// The first three set {{position}}. {{c}} is the character of colours, {{b}} that of bold, {{start}} the position before
// all of them and {{epoch}} its epoch. Below /private is private. The wikis w1 and w2 are configured, and #mixed.
func TestTranscripts(t *testing.T) {
	transcript.Files(t, "testdata/*.txt", func(t *testing.T) *transcript.Runner {
		t.Parallel()
		o := outlettest.Options("")
		o.Retention = append(o.Retention, journal.Retention{Prefix: "/recentchange", Age: time.Hour})
		j := journal.NewMemory(o)
		t.Cleanup(func() { j.Close() })
		wikis := recentchange.Wikis{
			"w1": {ServerName: "w1.example.org", ServerURL: "https://w1.example.org", ScriptPath: "/w", Special: "Spezial", InterwikiPrefix: "w"},
			"w2": {ServerName: "w2.example.org", IRCChannel: "#second"},
		}
		w := outlettest.NewWorld(t, j, hub.Options{Decode: outlet.Decoder(wikis)}, edge.Options{})
		s := serve(w, func(o *irc.Options) {
			o.Wikis = wikis
			o.Channels = map[string][]tidings.Pattern{"#mixed": {tidings.MustPattern("/news/**"), tidings.MustPattern("/sport")}}
		})
		f := &fixture{feed: s, ids: map[string]string{}}
		start := w.Hub.Head()
		return &transcript.Runner{
			Dial: func() (net.Conn, error) { return s.dial(0) },
			Vars: map[string]string{"c": "\x03", "b": "\x02", "one": "\x01", "epoch": fmt.Sprintf("%08x", start.Epoch), "start": start.String()},
			Do: map[string]func(map[string]string, string) error{
				"publish": f.publish, "edit": f.edit, "retract": f.retract, "trim": f.trim, "token": f.token, "revoke": f.revoke,
				"clock": clock, "tick": f.tick, "stop": f.stop,
			},
		}
	})
}

type fixture struct {
	*feed
	ids map[string]string // of tokens
}

func (f *fixture) append(vars map[string]string, e tidings.Event) error {
	e.Time = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	r, err := f.w.Journal.Append(context.Background(), e)
	if err != nil {
		return err
	}
	vars["position"] = r[0].Position.String()
	return f.w.Hub.Drain(context.Background())
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
	a := strings.SplitN(args, " ", 3)
	if len(a) < 3 {
		return fmt.Errorf("want a host, a boolean and a title")
	}
	return f.append(vars, tidings.Event{Topic: tidings.Topic("/recentchange/" + a[0]), ContentType: recentchange.TypeJSON,
		Payload: fmt.Appendf(nil, `{"id":7,"type":"edit","namespace":0,"title":%q,"comment":"","timestamp":1772600767,`+
			`"user":"Ann","bot":%s,"minor":false,"length":{"old":1,"new":9},"revision":{"old":1,"new":2},`+
			`"server_url":"https://%[3]s","server_name":%[3]q,"server_script_path":"/w","wiki":"x"}`, a[2], a[1], a[0])})
}

func (f *fixture) retract(vars map[string]string, args string) error {
	topic, id, _ := strings.Cut(args, " ")
	return f.append(vars, tidings.Event{Topic: tidings.Topic(topic), ID: id, Kind: tidings.Retract})
}

func (f *fixture) trim(map[string]string, string) error {
	f.w.Trim()
	return nil
}

func (f *fixture) token(vars map[string]string, args string) error {
	name, pattern, _ := strings.Cut(args, " ")
	f.ids[name], vars[name] = f.w.Token(pattern)
	return nil
}

func (f *fixture) revoke(_ map[string]string, name string) error {
	f.w.Revoke(f.ids[name])
	return nil
}

func (f *fixture) tick(_ map[string]string, args string) error {
	n, err := strconv.ParseInt(args, 10, 64)
	f.Tick(n)
	return err
}

func (f *fixture) stop(map[string]string, string) error {
	f.Close()
	f.w.Shutdown()
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
