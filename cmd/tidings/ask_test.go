package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAskingCommands(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admin := r.Header.Get("Authorization") == "Bearer admin"
		switch r.Method + " " + r.URL.String() {
		case "GET /topics":
			io.WriteString(w, `{"topics":[{"topic":"/a","events":12,"url":"/topics/a"},{"topic":"/b","events":3456,"url":"/topics/b"}]}`)
		case "GET /topics?match=%2Fnone":
			io.WriteString(w, `{"topics":[]}`)
		case "GET /status":
			io.WriteString(w, `{"version":"1","journal":{"events":18446744073709551615,"durability":"fsync","idle":null},"listeners":[{"addr":"127.0.0.1:1"},"x"],"up":true,"seconds":1.4466347609999999,"evil":"\u001b[2J"}`)
		case "GET /tokens":
			if !admin {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			io.WriteString(w, `{"tokens":[{"id":"3f9c","name":"newsroom","scopes":["publish:/news/**","read:/x"],"created":"2026-01-31T12:00:00Z"}]}`)
		case "POST /tokens":
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"id":"3f9c","token":"secret","scopes":["publish:/news/**"]}`)
		case "DELETE /tokens/3f9c":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"title":"Not Found","detail":"no such thing"}`)
		}
	}))
	defer srv.Close()
	t.Setenv("TIDINGS_SERVER", srv.URL)
	t.Setenv("TIDINGS_TOKEN", "")
	created := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).Local().Format(time.DateTime)
	for _, tc := range []struct {
		args string
		code int
		out  string
		errs string
	}{
		{"topics", 0, "EVENTS  TOPIC\n12      /a\n3456    /b\n", ""},
		{"topics /none", 0, "EVENTS  TOPIC\n", ""},
		{"topics /none --format json", 0, "[]\n", ""},
		{"topics /other", 1, "", "no such thing\nhint: tidings topics --server"},
		{"status", 0, "version             1\njournal.events      18446744073709551615\njournal.durability  fsync\njournal.idle        -\nlisteners.0.addr    127.0.0.1:1\nlisteners.1         x\nup                  true\nseconds             1.44663\nevil                \ufffd[2J\n", ""},
		{"status --format json", 0, "{\n  \"version\": \"1\",\n  \"journal\": {\n    \"events\": 18446744073709551615,", ""},
		{"token list", 1, "", "401 Unauthorized\nhint: pass --token TOKEN or set TIDINGS_TOKEN, or --data DIR"},
		{"token list --token admin", 0, "ID    NAME      CREATED              EXPIRES  SCOPES\n3f9c  newsroom  " + created + "  never    publish:/news/** read:/x\n", ""},
		{"token create newsroom publish:/news/** --token admin", 0, "secret\n", "token 3f9c may publish:/news/**; it is not shown again"},
		{"token create newsroom publish:/news/** --format json", 0, "\"token\": \"secret\"", ""},
		{"token revoke 3f9c", 0, "", "token 3f9c is revoked"},
		{"token revoke 3f9d", 1, "", "no such thing\nhint: tidings token list"},
	} {
		var out, errs bytes.Buffer
		code := exitCode(run(t.Context(), strings.Fields(tc.args), nil, &out, &errs), &errs)
		if code != tc.code || !strings.Contains(out.String(), tc.out) || tc.out == "" && out.Len() > 0 || !strings.Contains(errs.String(), tc.errs) || tc.errs == "" && errs.Len() > 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", tc.args, code, &out, &errs)
		}
	}
}
