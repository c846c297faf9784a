package irc_test

import (
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"testing"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/transcript"
	"tidings/outlet"
	"tidings/outlet/irc"
	"tidings/outlet/outlettest"
	"tidings/recentchange"
)

// TestTranscripts runs testdata/*.txt. Beside the directives of package transcript and of outlettest.Script, where json, rc and irc
// stand for MediaWiki's types, they have
//
//	! edit HOST BOT TITLE          an edit, as MediaWiki's JSON; sets {{position}}
//	! tick SECONDS                 the server's wheel gets there
//	! stop                         the server stops
//
// {{c}} is the character of colours, {{b}} that of bold. The wikis w1 and w2 are configured, and #mixed.
func TestTranscripts(t *testing.T) {
	transcript.Files(t, "testdata/*.txt", func(t *testing.T) *transcript.Runner {
		t.Parallel()
		wikis := recentchange.Wikis{
			"w1": {ServerName: "w1.example.org", ServerURL: "https://w1.example.org", ScriptPath: "/w", Special: "Spezial", InterwikiPrefix: "w"},
			"w2": {ServerName: "w2.example.org", IRCChannel: "#second"},
		}
		w := outlettest.NewMemory(t, hub.Options{Decode: outlet.Decoder(wikis)}, edge.Options{})
		s := serve(w, func(o *irc.Options) {
			o.Wikis = wikis
			o.Channels = map[string][]tidings.Pattern{"#mixed": {tidings.MustPattern("/news/**"), tidings.MustPattern("/sport")}}
		})
		script := outlettest.NewScript(w, map[string]string{"json": recentchange.TypeJSON, "rc": recentchange.TypeRC, "irc": recentchange.TypeIRC})
		maps.Copy(script.Vars, map[string]string{"c": "\x03", "b": "\x02", "one": "\x01"})
		f := &fixture{s, script}
		maps.Copy(script.Do, map[string]func(map[string]string, string) error{"edit": f.edit, "tick": f.tick, "stop": f.stop})
		return &transcript.Runner{Dial: func() (net.Conn, error) { return s.dial(0) }, Vars: script.Vars, Do: script.Do}
	})
}

type fixture struct {
	*feed
	script *outlettest.Script
}

func (f *fixture) edit(vars map[string]string, args string) error {
	a := strings.SplitN(args, " ", 3)
	if len(a) < 3 {
		return fmt.Errorf("want a host, a boolean and a title")
	}
	return f.script.Event(vars, tidings.Event{Topic: tidings.Topic("/recentchange/" + a[0]), ContentType: recentchange.TypeJSON,
		Payload: fmt.Appendf(nil, `{"id":7,"type":"edit","namespace":0,"title":%q,"comment":"","timestamp":1772600767,`+
			`"user":"Ann","bot":%s,"minor":false,"length":{"old":1,"new":9},"revision":{"old":1,"new":2},`+
			`"server_url":"https://%[3]s","server_name":%[3]q,"server_script_path":"/w","wiki":"x"}`, a[2], a[1], a[0])})
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
