package sasl

import (
	"crypto/pbkdf2"
	"strings"
	"testing"
)

func clientKey(t *testing.T, h Hash, password string, salt []byte) []byte {
	t.Helper()
	salted, err := pbkdf2.Key(h.new(), password, salt, MinIterations, h.Size())
	if err != nil {
		t.Fatal(err)
	}
	return h.mac(salted, "Client Key")
}

func TestChoose(t *testing.T) {
	all := []string{"SCRAM-SHA-1-PLUS", Plain, Anonymous, ScramSHA1, ScramSHA256, ScramSHA512}
	user, nobody := Credentials{Username: "user", Password: "x"}, Credentials{}
	for _, tt := range []struct {
		c       Credentials
		offered []string
		tls     bool
		want    string
	}{
		{user, all, false, ScramSHA512},
		{user, all[:5], true, ScramSHA256},
		{user, all[:4], true, ScramSHA1},
		{user, all[:3], true, Plain},
		{user, all[:3], false, ""},
		{user, []string{Anonymous}, true, ""},
		{nobody, all, false, Anonymous},
		{nobody, all[3:], true, ""},
		{nobody, nil, true, ""},
	} {
		if got := tt.c.Choose(tt.offered, tt.tls); got != tt.want {
			t.Errorf("%+v of %v, TLS %v: %q, want %q", tt.c, tt.offered, tt.tls, got, tt.want)
		}
	}
}

func TestNewClientRefuses(t *testing.T) {
	for _, tt := range []struct {
		mechanism string
		c         Credentials
	}{
		{"DIGEST-MD5", Credentials{"user", "pencil", ""}},
		{ScramSHA1, Credentials{"user", "", ""}},
		{ScramSHA1, Credentials{"user", "a\nb", ""}},
		{ScramSHA1, Credentials{"user", strings.Repeat("x", MaxPassword+1), ""}},
		{ScramSHA1, Credentials{"", "pencil", ""}},
		{Plain, Credentials{"us\x00er", "pencil", ""}},
		{Plain, Credentials{"user", "pencil", "a\x00b"}},
	} {
		if _, err := NewClient(tt.mechanism, tt.c); err == nil {
			t.Errorf("%s %+v: no error", tt.mechanism, tt.c)
		}
	}
}

// A server that breaks the rules, or that does not know the account, is found out.
func TestBadServers(t *testing.T) {
	nonce := func(c *Client) string {
		_, n, _ := strings.Cut(string(c.Initial()), "r=")
		return n
	}
	const rest = "s,s=c2FsdA==,i=4096"
	for _, tt := range []struct {
		name      string
		challenge func(*Client) string
		success   string // if it comes to that
	}{
		{"no challenge", func(*Client) string { return "" }, ""},
		{"another nonce", func(c *Client) string { return "r=x" + nonce(c) + rest }, ""},
		{"too few iterations", func(c *Client) string { return "r=" + nonce(c) + "s,s=c2FsdA==,i=4095" }, ""},
		{"too many iterations", func(c *Client) string { return "r=" + nonce(c) + "s,s=c2FsdA==,i=5000001" }, ""},
		{"no number", func(c *Client) string { return "r=" + nonce(c) + "s,s=c2FsdA==,i=many" }, ""},
		{"an extension that must be known", func(c *Client) string { return "m=x,r=" + nonce(c) + rest }, ""},
		{"not text", func(c *Client) string { return "r=" + nonce(c) + "\xff" + rest }, ""},
		{"no proof", func(c *Client) string { return "r=" + nonce(c) + rest }, ""},
		{"a wrong proof", func(c *Client) string { return "r=" + nonce(c) + rest }, "v=AAAA"},
		{"an error as success", func(c *Client) string { return "r=" + nonce(c) + rest }, "e=other-error"},
	} {
		c, err := NewClient(ScramSHA256, Credentials{"user", "pencil", ""})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Success(nil); err == nil {
			t.Errorf("%s: a success at once is taken", tt.name)
		}
		c, err = NewClient(ScramSHA256, Credentials{"user", "pencil", ""})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next([]byte(tt.challenge(c))); err != nil {
			continue
		}
		if err := c.Success([]byte(tt.success)); err == nil {
			t.Errorf("%s: taken", tt.name)
		}
	}
	c, err := NewClient(Plain, Credentials{"user", "pencil", ""})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next([]byte("x")); err == nil || c.Mechanism() != Plain {
		t.Error("PLAIN takes a challenge")
	}
}

// Some servers send their proof as a challenge, and nothing with the success.
func TestProofAsChallenge(t *testing.T) {
	s, _ := newServer()
	n := s.Negotiate(Conn{})
	c, err := NewClient(ScramSHA512, Credentials{"user", "pencil", ""})
	if err != nil {
		t.Fatal(err)
	}
	challenge, _, err := n.Start(t.Context(), c.Mechanism(), c.Initial())
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Next(challenge)
	if err != nil {
		t.Fatal(err)
	}
	proof, _, err := n.Next(t.Context(), response)
	if err != nil {
		t.Fatal(err)
	}
	if response, err = c.Next(proof); err != nil || len(response) != 0 {
		t.Errorf("%q, %v", response, err)
	}
	if err := c.Success(nil); err != nil {
		t.Error(err)
	}
}
