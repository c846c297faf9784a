package ws_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tidings"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/ws"
)

// FuzzMessages has messages answered, one in a line, whatever they are: each answer is one JSON object, the connection goes on
// unless a message is no text, and it is never silent.
func FuzzMessages(f *testing.F) {
	for _, s := range []string{
		`{"type":"ping","id":"p"}`, `{"type":"subscribe","id":"a","topics":["/a","/t/**"],"filter":{"n":[1,2],"bot":false},"after":"00000001-1"}` + "\n" + `{"type":"unsubscribe","id":"a"}`,
		`{"type":"subscribe","id":"a","topics":["/t"],"filter":["data.n > 1",{"a":"b"}],"since":"2020-01-01"}` + "\n" + `{"type":"subscribe","id":"a","topics":["/u"],"filter":null}`,
		`{"type":"authenticate","token":"x"}`, `{"type":"unsubscribe"}`, `[]`, `{"type":`, "\xff", "{}\n{}\n\n", `{"type":"subscribe","id":"a","topics":["/**"],"filter":"size(topic) > 1 && has(data.n)"}`,
	} {
		f.Add(s)
	}
	p := outlettest.ForFuzz(f, hub.Options{Decode: outlet.Decoder(nil)})
	out := ws.New(ws.Options{Hub: p.Hub, Edge: p.Edge, Token: p.Policy.Authenticate, Authenticate: func(*http.Request) (tidings.Actor, error) { return tidings.Actor{}, nil }})
	srv := httptest.NewServer(http.HandlerFunc(out.ServeSubscribe))
	f.Cleanup(srv.Close)
	for range 3 {
		if _, err := p.Journal.Append(context.Background(), tidings.Event{Topic: "/t", ContentType: "application/json", Payload: []byte(`{"n":1}`)}); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, said string) {
		if len(said) > 20_000 || strings.Count(said, "\n") > 20 {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c, _, err := websocket.Dial(ctx, strings.Replace(srv.URL, "http", "ws", 1)+"/subscribe?topic=/t", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		for line := range strings.SplitSeq(said+"\n"+`{"type":"ping","id":"the-end-of-it"}`, "\n") {
			c.Write(ctx, websocket.MessageText, []byte(line))
		}
		for {
			_, b, err := c.Read(ctx)
			if code := websocket.CloseStatus(err); code == websocket.StatusInvalidFramePayloadData {
				return // it was no UTF-8
			}
			if err != nil {
				t.Fatalf("%q: %v", said, err)
			}
			var m struct{ Type, ID string }
			if err := json.Unmarshal(b, &m); err != nil || m.Type == "" {
				t.Fatalf("%q: the answer %s, %v", said, b, err)
			}
			if m.Type == "pong" && m.ID == "the-end-of-it" {
				return
			}
		}
	})
}
