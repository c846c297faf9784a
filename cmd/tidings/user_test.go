package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tidings"
	"tidings/access"
	"tidings/config"
	"tidings/journal"
	"tidings/xmpp/sasl"
)

// What the command has written is an account that can log in, with the password as it was given and no line break.
func TestUserLogsIn(t *testing.T) {
	dir := t.TempDir()
	if _, err := access.AdminToken(dir); err != nil { // a server has used it
		t.Fatal(err)
	}
	t.Setenv("TIDINGS_SERVER", "http://127.0.0.1:1")
	tell := func(stdin string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if err := run(t.Context(), append([]string{"user", "--data", dir}, args...), strings.NewReader(stdin), &out, &errs); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, &errs)
		}
	}
	tell("pen cil\r\nmore\n", "add", "Alice")
	tell("first\n", "add", "bob")
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	tell("", "passwd", "--password-file", file, "bob")

	j, err := journal.OpenJetStream(t.Context(), journal.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	accounts, err := openAccounts(t.Context(), j, config.Defaults(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer accounts.Close()
	server := &sasl.Server{Domain: "localhost", Accounts: accounts}
	for _, tt := range []struct {
		message string
		ok      bool
	}{{"\x00alice\x00pen cil", true}, {"\x00alice\x00pen cil\r", false}, {"\x00bob\x00second", true}, {"\x00bob\x00first", false}} {
		_, done, err := server.Negotiate(sasl.Conn{TLS: true, Addr: netip.MustParseAddr("::1")}).Start(t.Context(), sasl.Plain, []byte(tt.message))
		if done != tt.ok || (err == nil) != tt.ok {
			t.Errorf("%q: %v, %v", tt.message, done, err)
		}
	}
}

func TestReadPassword(t *testing.T) {
	for _, tt := range []struct{ in, want, err string }{
		{"pencil", "pencil", ""},
		{"pencil\n", "pencil", ""},
		{"pencil\r\nsecond", "pencil", ""},
		{" a b \n", " a b ", ""},
		{"", "", "empty"},
		{"\nsecond\n", "", "empty"},
		{strings.Repeat("x", maxPasswordLine+1), "", "too long"},
	} {
		got, err := readPassword(t.Context(), stdio{in: strings.NewReader(tt.in)}, "")
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%.20q: %q, %v", tt.in, got, err)
		}
	}
}

func TestTypedPassword(t *testing.T) {
	for _, tt := range []struct{ in, want, err string }{
		{"pencil\npencil\n", "pencil", ""},
		{"pencil\npencils\n", "", "differ"},
		{"pencil\n", "", "empty"},
		{"\n\n", "", "empty"},
	} {
		var prompt bytes.Buffer
		got, err := typedPassword(t.Context(), strings.NewReader(tt.in), &prompt)
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) || !strings.HasPrefix(prompt.String(), "tidings: password: \n") {
			t.Errorf("%q: %q, %v, %q", tt.in, got, err, &prompt)
		}
	}
	// A person who presses control-C instead.
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := typedPassword(ctx, r, io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAccountErrors(t *testing.T) {
	j := journal.NewMemory(journal.Options{})
	defer j.Close()
	accounts, err := openAccounts(t.Context(), j, config.Defaults(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer accounts.Close()
	u, ctx := users{accounts}, t.Context()
	if err := u.Add(ctx, "x", "1"); err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	for _, tt := range []struct {
		name string
		err  error
		want tidings.ErrorKind
	}{
		{"taken", u.Add(ctx, "X", "1"), tidings.ErrConflict},
		{"no name", u.Add(ctx, strings.Repeat("@", 2000), "1"), tidings.ErrInvalid},
		{"no password", u.Add(ctx, "y", ""), tidings.ErrInvalid},
		{"nobody", u.SetPassword(ctx, "y", "1"), tidings.ErrNotFound},
		{"nobody, long", u.Delete(ctx, strings.Repeat("ß", 99)), tidings.ErrNotFound},
		{"another", accountError(errors.New("the disk"), "x"), tidings.ErrUnavailable},
		{"given up", accountError(canceled.Err(), "x"), 0},
		{"of a kind", accountError(tidings.Errorf(tidings.ErrTooLarge, "x"), "x"), tidings.ErrTooLarge},
	} {
		if tt.err == nil || tidings.KindOf(tt.err) != tt.want || len(tt.err.Error()) > 200 {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
		}
	}
}

// A journal is in a directory or in a cluster, and never in both.
func TestJournalOptions(t *testing.T) {
	cfg := config.Defaults()
	if o := journalOptions(cfg, nil); o.Dir != cfg.Data || o.URL != "" || len(o.Retention) != 1 {
		t.Errorf("%+v", o)
	}
	cfg.NATSURL = "nats://127.0.0.1:4222"
	if o := journalOptions(cfg, nil); o.Dir != "" || o.URL != cfg.NATSURL {
		t.Errorf("%+v", o)
	}
}
