package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// takes is a server that takes everything and remembers it.
type takes struct{ got []string }

func (s *takes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	s.got = append(s.got, strings.Join([]string{r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Item-ID"), r.Header.Get("Authorization"), string(b)}, "|"))
	if r.Header.Get("Idempotency-Key") == "twice" {
		io.WriteString(w, `{"position":"5f3a9c01-7","id":"i","topic":"/a","duplicate":true}`)
		return
	}
	w.WriteHeader(http.StatusCreated)
	io.WriteString(w, `{"position":"5f3a9c01-8","id":"i","topic":"/a"}`)
}

func TestPublishCommand(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "data")
	for name, content := range map[string]string{"data": "<a/>", "admin.token": "sesame\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args  []string
		stdin string
		got   []string // path, type, id, authorization, body
		out   string
		errs  string
	}{
		{[]string{"/a", "hello"}, "", []string{"/topics/a|text/plain; charset=utf-8|||hello"}, "5f3a9c01-8\n", ""},
		{[]string{"/a", `{"x": 1}`}, "", []string{`/topics/a|application/json|||{"x": 1}`}, "5f3a9c01-8\n", ""},
		{[]string{"/a"}, "from stdin\n", []string{"/topics/a|text/plain; charset=utf-8|||from stdin\n"}, "5f3a9c01-8\n", ""},
		{[]string{"/a", "-"}, "7", []string{"/topics/a|application/json|||7"}, "5f3a9c01-8\n", ""},
		{[]string{"/a", "@" + file, "--type", "application/xml", "--id", "i"}, "", []string{"/topics/a|application/xml|i||<a/>"}, "5f3a9c01-8\n", ""},
		{[]string{"/a", "x", "--key", "twice"}, "", []string{"/topics/a|text/plain; charset=utf-8|||x"}, "5f3a9c01-7\n", "published before"},
		{[]string{"/a", "--lines"}, "one\r\n\n  \n{\"n\":2}\nthree", []string{"/topics/a|text/plain; charset=utf-8|||one", `/topics/a|application/json|||{"n":2}`, "/topics/a|text/plain; charset=utf-8|||three"}, strings.Repeat("5f3a9c01-8\n", 3), ""},
		{[]string{"/a", "x", "--token", "t"}, "", []string{"/topics/a|text/plain; charset=utf-8||Bearer t|x"}, "5f3a9c01-8\n", ""},
		{[]string{"/a", "x", "--data", dir}, "", []string{"/topics/a|text/plain; charset=utf-8||Bearer sesame|x"}, "5f3a9c01-8\n", ""},
	} {
		s := &takes{}
		srv := httptest.NewServer(s)
		t.Setenv("TIDINGS_SERVER", srv.URL)
		t.Setenv("TIDINGS_TOKEN", "")
		var out, errs bytes.Buffer
		err := run(t.Context(), append([]string{"publish"}, tc.args...), strings.NewReader(tc.stdin), &out, &errs)
		srv.Close()
		if err != nil || strings.Join(s.got, "\n") != strings.Join(tc.got, "\n") || out.String() != tc.out || !strings.Contains(errs.String(), tc.errs) || tc.errs == "" && errs.Len() > 0 {
			t.Errorf("%q: %v, the server got %q, stdout %q, stderr %q", tc.args, err, s.got, &out, &errs)
		}
	}
}

// The admin token stays on this machine.
func TestAdminTokenIsForLoopbackOnly(t *testing.T) {
	for server, want := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://127.9.9.9": true, "http://[::1]:8080": true, "http://localhost:8080": true,
		"http://192.0.2.1:8080": false, "http://example.org": false, "http://localhost.example.org": false, "http://127.0.0.1.example.org": false,
		"http://127.0.0.1@example.org": false, "http://0.0.0.0:8080": false, "": false, ":": false,
	} {
		if got := isLoopback(server); got != want {
			t.Errorf("isLoopback(%q) = %v", server, got)
		}
	}
}

func TestLineTooLong(t *testing.T) {
	err := eachLine(strings.NewReader(strings.Repeat("x", maxLineBytes+1)), func([]byte) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("%v", err)
	}
}
