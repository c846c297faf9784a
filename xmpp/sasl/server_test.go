package sasl

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// accounts is an Authenticator with one iteration count and fixed salts.
type accounts struct {
	passwords  map[string]string
	iterations int
	salt       []byte
	attempts   []bool // outcomes
	refuse     error
}

func (a *accounts) Keys(username string, h Hash) (Keys, string) {
	name := strings.ToLower(username)
	password, ok := a.passwords[name]
	if !ok {
		password = "\x00 " + name // none that can be sent
		name = ""
	}
	k, err := h.Keys(password, a.salt, a.iterations)
	if err != nil {
		panic(err)
	}
	return k, name
}

func (a *accounts) Attempt(ctx context.Context, username string, from netip.Addr) (func(bool), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if a.refuse != nil {
		return nil, a.refuse
	}
	return func(ok bool) { a.attempts = append(a.attempts, ok) }, nil
}

func newServer() (*Server, *accounts) {
	a := &accounts{passwords: map[string]string{"user": "pencil", "zoë": "pass word"}, iterations: MinIterations, salt: []byte("salt")}
	return &Server{Domain: "localhost", Accounts: a, AllowAnonymous: true}, a
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of RFC 5802 section 5 and RFC 7677 section 3, to the letter.
func TestExamplesOfTheRFCs(t *testing.T) {
	for _, tt := range []struct{ mechanism, salt, nonce, first, challenge, final, success string }{
		{ScramSHA1, "QSXCR+Q6sek8bf92", "3rfcNHYJY1ZVvWVs7j",
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="},
		{ScramSHA256, "W22ZaJ0SNY7soEsUEjb6gQ==", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
	} {
		s, a := newServer()
		a.salt = unbase64(t, tt.salt)
		s.nonce = func() string { return tt.nonce }
		n := s.Negotiate(Conn{})
		challenge, done, err := n.Start(t.Context(), tt.mechanism, []byte(tt.first))
		if string(challenge) != tt.challenge || done || err != nil {
			t.Fatalf("%s: %q, %v, %v", tt.mechanism, challenge, done, err)
		}
		success, done, err := n.Next(t.Context(), []byte(tt.final))
		if string(success) != tt.success || !done || err != nil || n.Identity() != (Identity{"user", tt.mechanism}) {
			t.Errorf("%s: %q, %v, %v, %+v", tt.mechanism, success, done, err, n.Identity())
		}
		if !slices.Equal(a.attempts, []bool{true}) || s.Stats().Succeeded[tt.mechanism] != 1 {
			t.Errorf("%s: attempts %v, %+v", tt.mechanism, a.attempts, s.Stats())
		}
	}
}

// login does all of an attempt and returns its error.
func login(t *testing.T, n *Negotiation, mechanism string, c Credentials) error {
	t.Helper()
	client, err := NewClient(mechanism, c)
	if err != nil {
		t.Fatal(err)
	}
	data, done, err := n.Start(t.Context(), mechanism, client.Initial())
	for err == nil && !done {
		response, cerr := client.Next(data)
		if cerr != nil {
			t.Fatal(cerr)
		}
		data, done, err = n.Next(t.Context(), response)
	}
	if err == nil {
		if err := client.Success(data); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
	return err
}

func TestLogin(t *testing.T) {
	secure, open := Conn{TLS: true}, Conn{}
	for _, tt := range []struct {
		name      string
		conn      Conn
		mechanism string
		cred      Credentials
		account   string
		condition Condition
	}{
		{"sha-1", open, ScramSHA1, Credentials{"user", "pencil", ""}, "user", ""},
		{"sha-256", open, ScramSHA256, Credentials{"user", "pencil", ""}, "user", ""},
		{"sha-512", open, ScramSHA512, Credentials{"user", "pencil", ""}, "user", ""},
		{"plain", secure, Plain, Credentials{"user", "pencil", ""}, "user", ""},
		{"anonymous", open, Anonymous, Credentials{}, "", ""},
		{"a name in capitals", open, ScramSHA256, Credentials{"USER", "pencil", ""}, "user", ""},
		{"not ASCII", open, ScramSHA256, Credentials{"zoë", "pass\u00a0word", ""}, "zoë", ""},
		{"not ASCII, plain", secure, Plain, Credentials{"zoë", "pass\u2003word", ""}, "zoë", ""},
		{"for itself", open, ScramSHA256, Credentials{"user", "pencil", "User@LOCALHOST"}, "user", ""},
		{"for itself, plain", secure, Plain, Credentials{"user", "pencil", "user@localhost"}, "user", ""},
		{"for another", open, ScramSHA256, Credentials{"user", "pencil", "zoë@localhost"}, "", InvalidAuthzid},
		{"for another, plain", secure, Plain, Credentials{"user", "pencil", "zoë@localhost"}, "", InvalidAuthzid},
		{"elsewhere", open, ScramSHA1, Credentials{"user", "pencil", "user@example.org"}, "", InvalidAuthzid},
		{"with a resource", open, ScramSHA1, Credentials{"user", "pencil", "user@localhost/x"}, "", InvalidAuthzid},
		{"no address", open, ScramSHA1, Credentials{"user", "pencil", "@"}, "", InvalidAuthzid},
		{"for another with a wrong password", open, ScramSHA1, Credentials{"user", "pen", "zoë@localhost"}, "", NotAuthorized},
		{"wrong password", open, ScramSHA256, Credentials{"user", "pencils", ""}, "", NotAuthorized},
		{"wrong password, sha-1", open, ScramSHA1, Credentials{"user", "Pencil", ""}, "", NotAuthorized},
		{"wrong password, plain", secure, Plain, Credentials{"user", "pencils", ""}, "", NotAuthorized},
		{"nobody", open, ScramSHA256, Credentials{"nobody", "pencil", ""}, "", NotAuthorized},
		{"nobody, plain", secure, Plain, Credentials{"nobody", "pencil", ""}, "", NotAuthorized},
		{"a name that none can have", open, ScramSHA512, Credentials{"a,b=c@d", "pencil", ""}, "", NotAuthorized},
		{"plain without TLS", open, Plain, Credentials{"user", "pencil", ""}, "", EncryptionRequired},
		{"TLS first", Conn{NeedsTLS: true}, ScramSHA256, Credentials{"user", "pencil", ""}, "", EncryptionRequired},
		{"TLS first, anonymous", Conn{NeedsTLS: true}, Anonymous, Credentials{}, "", EncryptionRequired},
		{"with TLS", Conn{NeedsTLS: true, TLS: true}, ScramSHA256, Credentials{"user", "pencil", ""}, "user", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newServer()
			n := s.Negotiate(tt.conn)
			err := login(t, n, tt.mechanism, tt.cred)
			if tt.condition == "" {
				if err != nil || n.Identity() != (Identity{tt.account, tt.mechanism}) || n.Failures() != 0 {
					t.Errorf("%v, %+v", err, n.Identity())
				}
				if n.Identity().Anonymous() != (tt.mechanism == Anonymous) {
					t.Error("anonymous, or not")
				}
				return
			}
			if err == nil || ConditionOf(err) != tt.condition || n.Identity() != (Identity{}) || n.Failures() != 1 || s.Stats().Failed[tt.condition] != 1 {
				t.Errorf("%v, %+v, %d failures, %+v", err, n.Identity(), n.Failures(), s.Stats())
			}
			// The stream may go on with another attempt.
			if !tt.conn.NeedsTLS {
				if err := login(t, n, ScramSHA1, Credentials{"user", "pencil", ""}); err != nil || n.Identity().Account != "user" {
					t.Errorf("again: %v", err)
				}
			}
		})
	}
}

func TestMechanisms(t *testing.T) {
	s, _ := newServer()
	for _, tt := range []struct {
		server *Server
		conn   Conn
		want   string
	}{
		{s, Conn{}, "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 ANONYMOUS"},
		{s, Conn{TLS: true}, "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN ANONYMOUS"},
		{s, Conn{NeedsTLS: true}, ""},
		{&Server{Accounts: s.Accounts}, Conn{}, "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1"},
		{&Server{AllowAnonymous: true}, Conn{TLS: true}, "ANONYMOUS"},
	} {
		got := tt.server.Mechanisms(tt.conn)
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%+v: %v, want %s", tt.conn, got, tt.want)
		}
		// What is not offered is not had.
		for _, m := range []string{ScramSHA512, ScramSHA256, ScramSHA1, Plain, Anonymous, "SCRAM-SHA-256-PLUS", "DIGEST-MD5", "scram-sha-1", ""} {
			if slices.Contains(got, m) {
				continue
			}
			_, done, err := tt.server.Negotiate(tt.conn).Start(t.Context(), m, []byte("n,,n=user,r=x"))
			if c := ConditionOf(err); done || c != InvalidMechanism && c != EncryptionRequired {
				t.Errorf("%+v: %s: %v", tt.conn, m, err)
			}
		}
	}
}

// What breaks the rules of a mechanism, by the messages in order; "-" is none.
func TestMalformed(t *testing.T) {
	const ok = "n,,n=user,r=abc"
	for _, tt := range []struct {
		mechanism string
		messages  []string
		want      Condition
	}{
		{ScramSHA1, []string{""}, MalformedRequest},
		{ScramSHA1, []string{"-", ""}, MalformedRequest},
		{ScramSHA1, []string{"n,,n=user"}, MalformedRequest},
		{ScramSHA1, []string{"n,,n=user,r="}, MalformedRequest},
		{ScramSHA1, []string{"n,,n=user,r=a b"}, MalformedRequest},
		{ScramSHA1, []string{"n,,n=us=er,r=abc"}, MalformedRequest},
		{ScramSHA1, []string{"n,,n=us\xff,r=abc"}, MalformedRequest},
		{ScramSHA1, []string{"n,,n=us\x00,r=abc"}, MalformedRequest},
		{ScramSHA1, []string{"n,,m=x,n=user,r=abc"}, MalformedRequest},
		{ScramSHA1, []string{"n,a=x=y,n=user,r=abc"}, MalformedRequest},
		{ScramSHA1, []string{"n,x,n=user,r=abc"}, MalformedRequest},
		{ScramSHA1, []string{"q,,n=user,r=abc"}, MalformedRequest},
		{ScramSHA1, []string{"p=tls-unique,,n=user,r=abc"}, MalformedRequest},
		{ScramSHA1, []string{"n,,n=user,r=" + strings.Repeat("a", MaxMessage)}, MalformedRequest},
		{ScramSHA256, []string{ok, ""}, MalformedRequest},
		{ScramSHA256, []string{ok, "-"}, MalformedRequest},
		{ScramSHA256, []string{ok, ok}, MalformedRequest},
		{ScramSHA256, []string{ok, "c=biws,r=abc"}, MalformedRequest},
		{ScramSHA256, []string{ok, "c=!,r=abc,p=AAAA"}, MalformedRequest},
		{ScramSHA256, []string{ok, "c=biws,r=abc,p=AAAA"}, NotAuthorized},      // another nonce
		{ScramSHA256, []string{ok, "c=eSws,r=abcNONCE,p=AAAA"}, NotAuthorized}, // another flag
		{ScramSHA256, []string{ok, "c=biws,r=abcNONCE,p=AAAA"}, NotAuthorized}, // a proof that is too short
		{ScramSHA256, []string{ok, "c=biws,r=abcNONCE,p=" + strings.Repeat("A", 43) + "="}, NotAuthorized},
		{Plain, []string{""}, MalformedRequest},
		{Plain, []string{"-", "user\x00pencil"}, MalformedRequest},
		{Plain, []string{"\x00user\x00"}, MalformedRequest},
		{Plain, []string{"\x00\x00pencil"}, MalformedRequest},
		{Plain, []string{"\x00user\x00pencil\x00"}, MalformedRequest},
		{Plain, []string{"\x00user\x00pen\xffcil"}, MalformedRequest},
		{Plain, []string{"\x00user\x00" + strings.Repeat("x", MaxPassword+1)}, MalformedRequest},
		{Plain, []string{"\x00user\x00pen\ncil"}, NotAuthorized}, // none that an account can have
		{Anonymous, []string{"trace \x00"}, MalformedRequest},
		{Anonymous, []string{"\xff"}, MalformedRequest},
		{Anonymous, []string{strings.Repeat("x", 2000)}, MalformedRequest},
	} {
		s, _ := newServer()
		s.nonce = func() string { return "NONCE" }
		n := s.Negotiate(Conn{TLS: true})
		var err error
		for i, m := range tt.messages {
			message := []byte(m)
			if m == "-" {
				message = nil
			}
			if err != nil {
				t.Errorf("%s %.60q: failed before the last message: %v", tt.mechanism, tt.messages, err)
			}
			var done bool
			if i == 0 {
				_, done, err = n.Start(t.Context(), tt.mechanism, message)
			} else {
				_, done, err = n.Next(t.Context(), message)
			}
			if done {
				t.Errorf("%s %.60q: done", tt.mechanism, tt.messages)
			}
		}
		if err == nil || ConditionOf(err) != tt.want {
			t.Errorf("%s %.60q: %v, want %s", tt.mechanism, tt.messages, err, tt.want)
		}
		if _, _, err := n.Next(t.Context(), []byte("x")); ConditionOf(err) != MalformedRequest {
			t.Errorf("%s %.60q: goes on after the failure: %v", tt.mechanism, tt.messages, err)
		}
	}
}

// A client that could have bound the channel and was offered no such mechanism is right in saying so.
func TestFlagY(t *testing.T) {
	s, _ := newServer()
	n := s.Negotiate(Conn{TLS: true})
	challenge, _, err := n.Start(t.Context(), ScramSHA1, []byte("y,,n=user,r=abc"))
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := n.Next(t.Context(), []byte(final(t, SHA1, "pencil", "eSws", "n=user,r=abc", string(challenge)))); err != nil || !done {
		t.Errorf("%v, %v", done, err)
	}
}

// final returns the client-final-message for a challenge.
func final(t *testing.T, h Hash, password, cbind, firstBare, challenge string) string {
	t.Helper()
	parts := strings.Split(challenge, ",")
	salt := unbase64(t, strings.TrimPrefix(parts[1], "s="))
	k, err := h.Keys(password, salt, MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	without := "c=" + cbind + "," + parts[0]
	signature := h.mac(k.StoredKey, firstBare+","+challenge+","+without)
	proof := clientKey(t, h, password, salt)
	for i := range proof {
		proof[i] ^= signature[i]
	}
	return without + ",p=" + base64.StdEncoding.EncodeToString(proof)
}

func TestReplay(t *testing.T) {
	s, a := newServer()
	n := s.Negotiate(Conn{})
	const first = "n,,n=user,r=abc"
	challenge, _, err := n.Start(t.Context(), ScramSHA256, []byte(first))
	if err != nil {
		t.Fatal(err)
	}
	last := []byte(final(t, SHA256, "pencil", "biws", first[len("n,,"):], string(challenge)))
	if _, done, err := n.Next(t.Context(), last); err != nil || !done {
		t.Fatal(done, err)
	}
	// On the same stream, and on another.
	if _, done, err := n.Next(t.Context(), last); done || ConditionOf(err) != MalformedRequest || n.Identity().Account != "user" {
		t.Errorf("on the same stream: %v, %v", done, err)
	}
	if _, done, err := n.Start(t.Context(), ScramSHA256, []byte(first)); done || err == nil {
		t.Errorf("a second time on the same stream: %v, %v", done, err)
	}
	other := s.Negotiate(Conn{})
	again, _, err := other.Start(t.Context(), ScramSHA256, []byte(first))
	if err != nil || bytes.Equal(again, challenge) {
		t.Fatalf("%s, %v", again, err)
	}
	if _, done, err := other.Next(t.Context(), last); done || ConditionOf(err) != NotAuthorized || other.Identity() != (Identity{}) {
		t.Errorf("on another stream: %v, %v", done, err)
	}
	if !slices.Equal(a.attempts, []bool{true, false}) {
		t.Errorf("attempts %v", a.attempts)
	}
}

func TestAbort(t *testing.T) {
	s, a := newServer()
	n := s.Negotiate(Conn{})
	if _, _, err := n.Start(t.Context(), ScramSHA256, []byte("n,,n=user,r=abc")); err != nil {
		t.Fatal(err)
	}
	if err := n.Abort(); ConditionOf(err) != Aborted || n.Failures() != 1 || len(a.attempts) != 0 {
		t.Errorf("%v, %d, %v", err, n.Failures(), a.attempts)
	}
	if _, _, err := n.Next(t.Context(), []byte("c=biws,r=abc,p=AAAA")); ConditionOf(err) != MalformedRequest {
		t.Errorf("goes on: %v", err)
	}
	_, derr := Decode("!")
	if err := n.Fail(derr); ConditionOf(err) != IncorrectEncoding || n.Failures() != 3 || s.Stats().Failed[IncorrectEncoding] != 1 {
		t.Errorf("%v, %d", err, n.Failures())
	}
}

func TestAttemptsAreRefused(t *testing.T) {
	for _, m := range []string{ScramSHA1, Plain} {
		s, a := newServer()
		a.refuse = &Error{Condition: TemporaryAuthFailure, Text: "later"}
		n := s.Negotiate(Conn{TLS: true})
		if err := login(t, n, m, Credentials{"user", "pencil", ""}); err != a.refuse {
			t.Errorf("%s: %v", m, err)
		}
		a.refuse = errors.New("the store")
		if err := login(t, n, m, Credentials{"user", "pencil", ""}); ConditionOf(err) != TemporaryAuthFailure || !errors.Is(err, a.refuse) {
			t.Errorf("%s: %v", m, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := n.Start(ctx, Plain, []byte("\x00user\x00pencil")); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", m, err)
		}
	}
}

// Neither the steps nor the answers tell whether there is an account.
func TestUnknownUserLooksLikeAWrongPassword(t *testing.T) {
	for _, h := range Hashes {
		s, a := newServer()
		s.nonce = func() string { return "NONCE" }
		steps := func(user string) string {
			var b strings.Builder
			n := s.Negotiate(Conn{TLS: true})
			mechanism := "SCRAM-" + h.String()
			first := "n=" + user + ",r=abc"
			challenge, done, err := n.Start(t.Context(), mechanism, []byte("n,,"+first))
			b.WriteString(strings.ReplaceAll(string(challenge), user, "USER"))
			if done || err != nil {
				t.Fatal(done, err)
			}
			answer, done, err := n.Next(t.Context(), []byte(final(t, h, "wrong", "biws", first, string(challenge))))
			b.WriteString(string(answer) + string(AppendFailure(nil, err)))
			if done {
				b.WriteString("done")
			}
			_, _, err = n.Start(t.Context(), Plain, []byte("\x00"+user+"\x00wrong"))
			b.Write(AppendFailure(nil, err))
			return b.String()
		}
		known, unknown := steps("user"), steps("nobody")
		if known != unknown || !strings.Contains(known, "<not-authorized/>") {
			t.Errorf("%s:\n%s\n%s", h, known, unknown)
		}
		if len(a.attempts) != 4 || slices.Contains(a.attempts, true) {
			t.Errorf("attempts %v", a.attempts)
		}
	}
}

// A client that tries every mechanism in turn is not let in as nobody once a password was wrong.
func TestAnonymousAfterFailure(t *testing.T) {
	s := &Server{Domain: "localhost", AllowAnonymous: true}
	n := s.Negotiate(Conn{})
	if _, _, err := n.Start(t.Context(), "SCRAM-SHA-1", []byte("x")); err == nil {
		t.Fatal("a mechanism without accounts was accepted")
	}
	if _, done, err := n.Start(t.Context(), Anonymous, nil); done || ConditionOf(err) != NotAuthorized {
		t.Errorf("%v, %v", done, err)
	}
	if _, done, err := s.Negotiate(Conn{}).Start(t.Context(), Anonymous, nil); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
}
