package sse_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/transcript"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/recentchange"
)

// TestTranscripts runs testdata/*.txt. Beside the directives of package transcript and of outlettest.Script they have
//
//	! change TITLE BOT             a change of the English Wikipedia; sets {{position}}, {{offset}} and {{next}}
func TestTranscripts(t *testing.T) {
	transcript.Files(t, "testdata/*.txt", func(t *testing.T) *transcript.Runner {
		t.Parallel()
		eo := edge.Options{}
		if strings.HasSuffix(t.Name(), "keepalive") {
			eo.Keepalive = time.Second
		}
		w := outlettest.NewMemory(t, hub.Options{Decode: outlet.Decoder(nil)}, eo)
		s := serve(w, nil)
		t.Cleanup(s.Close)
		script := outlettest.NewScript(w, nil)
		script.Do["change"] = func(vars map[string]string, args string) error { return script.Event(vars, change(args)) }
		return &transcript.Runner{Dial: func() (net.Conn, error) { return s.dial(0) }, Vars: script.Vars, Do: script.Do}
	})
}

func change(args string) tidings.Event {
	title, bot, _ := strings.Cut(args, " ")
	return tidings.Event{Topic: "/recentchange/en.wikipedia.org", ContentType: recentchange.TypeJSON,
		Payload: fmt.Appendf(nil, `{"id":7,"type":"edit","namespace":0,"title":%q,"comment":"","timestamp":1772600767,`+
			`"user":"Ann","bot":%s,"minor":false,"length":{"old":null,"new":9},"revision":{"old":1,"new":2},`+
			`"server_url":"https://en.wikipedia.org","server_name":"en.wikipedia.org","server_script_path":"/w","wiki":"enwiki"}`, title, bot)}
}
