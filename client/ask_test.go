package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tidings"
	"tidings/client"
)

func TestNew(t *testing.T) {
	for _, s := range []string{"", "localhost:8080", "ftp://localhost", "http://", "http://[::1", "/topics", "http://a b"} {
		if _, err := client.New(s); tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("New(%q): %v", s, err)
		}
	}
	for _, s := range []string{"http://127.0.0.1:8080", "https://example.org/tidings/", "http://[::1]:8080?x#y"} {
		if _, err := client.New(s); err != nil {
			t.Errorf("New(%q): %v", s, err)
		}
	}
}

func TestParseEvent(t *testing.T) {
	when := time.Date(2026, 1, 31, 12, 0, 0, 500, time.UTC)
	head := `{"specversion":"1.0","id":"i","source":"/topics/a/%C3%A9%20%25","topic":"/a/é %","type":"tidings.publish","time":"2026-01-31T12:00:00.0000005Z","position":"5f3a9c01-7",`
	for _, tc := range []struct{ in, typ, payload string }{
		{`"datacontenttype":"application/json","data":{"a": 1}}`, "application/json", `{"a": 1}`},
		{`"datacontenttype":"application/json","data":"text"}`, "application/json", `"text"`},
		{`"datacontenttype":"application/json","data":null}`, "application/json", `null`},
		{`"data":[1]}`, "", `[1]`},
		{`"datacontenttype":"application/geo+json; charset=utf-8","data":"x"}`, "application/geo+json; charset=utf-8", `"x"`},
		{`"datacontenttype":"text/plain","data":"a\nb\u00e9"}`, "text/plain", "a\nbé"},
		{`"datacontenttype":"application/xml","data":"<a/>"}`, "application/xml", "<a/>"},
		{`"datacontenttype":"image/png","data_base64":"iVAA/w=="}`, "image/png", "\x89P\x00\xff"},
	} {
		e, err := client.ParseEvent([]byte(head + tc.in))
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		if e.Position != pos(7) || e.Topic != "/a/é %" || e.ID != "i" || !e.Time.Equal(when) || e.Kind != tidings.Publish || e.ContentType != tc.typ || string(e.Payload) != tc.payload {
			t.Errorf("%s: %+v", tc.in, e)
		}
	}
	e, err := client.ParseEvent([]byte(`{"specversion":"1.0","id":"i","source":"/topics/a","topic":"/a","type":"tidings.retract","time":"2026-01-31T12:00:00Z","position":"5f3a9c01-8"}`))
	if err != nil || e.Kind != tidings.Retract || len(e.Payload) != 0 {
		t.Errorf("retraction: %+v, %v", e, err)
	}
	foreign := `{"specversion":"1.0","id":"i","source":"https://example.org/","type":"org.example.made","data":1,"position":"5f3a9c01-9","topic":"/a"}`
	e, err = client.ParseEvent([]byte(foreign))
	if err != nil || e.Topic != "/a" || e.Position != pos(9) || e.ID != "i" || e.ContentType != client.CloudEvent || string(e.Payload) != foreign {
		t.Errorf("a publisher's own CloudEvent: %+v, %v", e, err)
	}
	const sound = `{"specversion":"1.0","topic":"/a","type":"tidings.publish","position":"5f3a9c01-7"`
	if _, err := client.ParseEvent([]byte(sound + "}")); err != nil {
		t.Error(err)
	}
	for _, in := range []string{
		``, `[]`, `{}`, sound,
		`{"specversion":"2.0","topic":"/a","type":"tidings.publish","position":"5f3a9c01-7"}`,
		`{"specversion":"1.0","type":"tidings.publish","position":"5f3a9c01-7"}`,
		`{"specversion":"1.0","topic":"/a/*","type":"tidings.publish","position":"5f3a9c01-7"}`,
		`{"specversion":"1.0","topic":"/a","position":"5f3a9c01-7"}`,
		`{"specversion":"1.0","topic":"/a","type":"tidings.publish","position":"7"}`,
		`{"specversion":"1.0","topic":"/a","type":"tidings.publish","position":7}`,
		sound + `,"time":"yesterday"}`,
		sound + `,"data_base64":"*"}`,
	} {
		if e, err := client.ParseEvent([]byte(in)); tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("%s: %+v, %v", in, e, err)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"i","source":"/topics/a/%C3%A9","topic":"/a/é","type":"tidings.publish","time":"2026-01-31T12:00:00Z","datacontenttype":"text/plain","data":"x","position":"5f3a9c01-7"}`))
	f.Add([]byte(`{"specversion":"1.0","id":"i","source":"/topics/a","topic":"/a","type":"tidings.retract","time":"2026-01-31T12:00:00Z","position":"5f3a9c01-8"}`))
	f.Add([]byte(`{"specversion":"1.0","source":"/topics/a","type":"tidings.publish","data_base64":"AA==","data":{},"topic":"/a","position":"5f3a9c01-8"}`))
	f.Add([]byte(`{"specversion":"1.0","source":"/topics/`))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := client.ParseEvent(in)
		if err != nil {
			if tidings.KindOf(err) != tidings.ErrInvalid {
				t.Fatalf("%q: kind %v", in, tidings.KindOf(err))
			}
			return
		}
		if _, err := tidings.ParseTopic(string(e.Topic)); err != nil {
			t.Fatalf("%q gives a topic that is none: %v", in, err)
		}
	})
}

// expect checks a request and answers 201.
func expect(t *testing.T, method, uri string, header map[string]string, body, answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || r.Method != method || r.RequestURI != uri || string(got) != body {
			t.Errorf("%s %s %q, %v; want %s %s %q", r.Method, r.RequestURI, got, err, method, uri, body)
		}
		for name, want := range header {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		answers(http.StatusCreated, http.Header{"Content-Type": {"application/json"}}, answer)(w, r)
	}
}

func TestPublish(t *testing.T) {
	c := start(t, []client.Option{client.WithToken("secret")},
		expect(t, "POST", "/topics/news/a%20b%25%C3%A9", map[string]string{
			"Content-Type": "text/plain", "Idempotency-Key": "k", "Item-ID": "i", "Authorization": "Bearer secret", "Accept": "application/json",
		}, "hello", `{"position":"5f3a9c01-7","id":"i","topic":"/news/a b%é","duplicate":true}`))
	if _, err := c.Publish(t.Context(), "/news/*", client.Publication{}); tidings.KindOf(err) != tidings.ErrInvalid {
		t.Errorf("a pattern for a topic: %v", err)
	}
	if _, err := c.Publish(t.Context(), "news", client.Publication{}); tidings.KindOf(err) != tidings.ErrInvalid {
		t.Errorf("no topic: %v", err)
	}
	r, err := c.Publish(t.Context(), "/news/a b%é", client.Publication{ContentType: "text/plain", Payload: []byte("hello"), ID: "i", Key: "k"})
	if want := (client.Receipt{Position: pos(7), ID: "i", Topic: "/news/a b%é", Duplicate: true}); err != nil || r != want {
		t.Errorf("%+v, %v; want %+v", r, err, want)
	}
}

func TestPublishSendsAgainWithTheSameKey(t *testing.T) {
	var keys, bodies []string
	note := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			keys, bodies = append(keys, r.Header.Get("Idempotency-Key")), append(bodies, string(b))
			next(w, r)
		}
	}
	dies := func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	}
	cut := func(w http.ResponseWriter, r *http.Request) { // the event is stored, the answer does not arrive whole
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"position":`)
	}
	c := start(t, nil, note(dies), note(cut), note(answers(503, nil, "")), note(answers(200, nil, `{"position":"5f3a9c01-7","id":"x","topic":"/a","duplicate":true}`)))
	r, err := c.Publish(t.Context(), "/a", client.Publication{Payload: []byte(`{"a":1}`)})
	if err != nil || r != (client.Receipt{Position: pos(7), ID: "x", Topic: "/a", Duplicate: true}) {
		t.Fatalf("%+v, %v", r, err)
	}
	for i := range keys {
		if keys[i] == "" || keys[i] != keys[0] || bodies[i] != `{"a":1}` {
			t.Errorf("attempt %d: key %q, body %q", i, keys[i], bodies[i])
		}
	}
}

func TestPublishRefused(t *testing.T) {
	for status, kind := range map[int]tidings.ErrorKind{400: tidings.ErrInvalid, 401: tidings.ErrUnauthenticated, 403: tidings.ErrForbidden, 409: tidings.ErrConflict, 413: tidings.ErrTooLarge, 415: tidings.ErrInvalid} {
		c := start(t, nil, answers(status, nil, `{"detail":"the reason"}`))
		_, err := c.Publish(t.Context(), "/a", client.Publication{})
		var refused *client.StatusError
		if tidings.KindOf(err) != kind || !errors.As(err, &refused) || refused.Detail != "the reason" {
			t.Errorf("%d: %v of kind %v", status, err, tidings.KindOf(err))
		}
	}
	c := start(t, []client.Option{client.WithAttempts(2)}, answers(503, nil, ""), answers(503, nil, `{"title":"Unavailable"}`))
	if _, err := c.Publish(t.Context(), "/a", client.Publication{}); tidings.KindOf(err) != tidings.ErrUnavailable {
		t.Errorf("after two attempts: %v", err)
	}
	c = start(t, nil, answers(201, nil, `hello`))
	if _, err := c.Publish(t.Context(), "/a", client.Publication{}); tidings.KindOf(err) != tidings.ErrUnavailable {
		t.Errorf("an answer that is none: %v", err)
	}
}

func TestAsk(t *testing.T) {
	created := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	c := start(t, []client.Option{client.WithToken("admin")},
		expect(t, "GET", "/topics?match=%2Fnews%2F%2A%2A", nil, "", `{"topics":[{"topic":"/news/a","events":12,"url":"/topics/news/a"}]}`),
		expect(t, "GET", "/topics", nil, "", `{"topics":[]}`),
		expect(t, "GET", "/status", nil, "", `{"journal":{"events":3}}`),
		expect(t, "POST", "/tokens", map[string]string{"Authorization": "Bearer admin", "Content-Type": "application/json"}, `{"name":"x","scopes":["publish:/news/**"]}`, `{"id":"3f9c","token":"tdg_3f9c_s"}`),
		expect(t, "POST", "/tokens", nil, `{"name":"x","scopes":["publish:/news/**"],"ttl":"1h30m0s"}`, `{"id":"3f9c","token":"tdg_3f9c_s","scopes":["publish:/news/**"]}`),
		expect(t, "GET", "/tokens", nil, "", `{"tokens":[{"id":"3f9c","name":"x","scopes":["publish:/news/**"],"created":"2026-01-31T12:00:00Z"}]}`),
		expect(t, "DELETE", "/tokens/3f%2F9c", nil, "", ``),
		answers(404, nil, `{"detail":"no such token"}`),
		answers(200, nil, `<html>`))
	ctx := t.Context()
	topics, err := c.Topics(ctx, tidings.MustPattern("/news/**"))
	if err != nil || len(topics) != 1 || topics[0] != (client.TopicInfo{Topic: "/news/a", Events: 12, URL: "/topics/news/a"}) {
		t.Errorf("topics %v, %v", topics, err)
	}
	if topics, err := c.Topics(ctx, tidings.Pattern{}); err != nil || len(topics) != 0 {
		t.Errorf("topics %v, %v", topics, err)
	}
	if s, err := c.Status(ctx); err != nil || !bytes.Equal(s, []byte(`{"journal":{"events":3}}`)) {
		t.Errorf("status %s, %v", s, err)
	}
	if _, err := c.CreateToken(ctx, "x", 0, "publish:/news/**"); err != nil {
		t.Error(err)
	}
	tok, err := c.CreateToken(ctx, "x", 90*time.Minute, "publish:/news/**")
	if err != nil || tok.ID != "3f9c" || tok.Secret != "tdg_3f9c_s" || tok.Name != "x" || len(tok.Scopes) != 1 {
		t.Errorf("token %+v, %v", tok, err)
	}
	list, err := c.Tokens(ctx)
	if err != nil || len(list) != 1 || !list[0].Created.Equal(created) || !list[0].Expires.IsZero() || list[0].Secret != "" {
		t.Errorf("tokens %+v, %v", list, err)
	}
	if b, err := json.Marshal(list[0]); err != nil || bytes.Contains(b, []byte("expires")) || bytes.Contains(b, []byte(`"token"`)) {
		t.Errorf("as JSON: %s, %v", b, err)
	}
	if err := c.RevokeToken(ctx, "3f/9c"); err != nil {
		t.Error(err)
	}
	if err := c.RevokeToken(ctx, "3f9c"); tidings.KindOf(err) != tidings.ErrNotFound {
		t.Errorf("revoking what is not there: %v", err)
	}
	if _, err := c.Topics(ctx, tidings.Pattern{}); tidings.KindOf(err) != tidings.ErrUnavailable {
		t.Errorf("an answer that is none: %v", err)
	}
}

func TestBaseWithAPath(t *testing.T) {
	for _, suffix := range []string{"/behind/a%2Fproxy", "/behind/a%2Fproxy/"} {
		srv := httptest.NewServer(expect(t, "GET", "/behind/a%2Fproxy/topics", nil, "", `{"topics":[]}`))
		defer srv.Close()
		c, err := client.New(srv.URL + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Topics(t.Context(), tidings.Pattern{}); err != nil {
			t.Error(err)
		}
	}
}
