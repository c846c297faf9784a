package certificate

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func logger() (*bytes.Buffer, *slog.Logger) {
	var b bytes.Buffer
	return &b, slog.New(slog.NewTextHandler(&b, nil))
}

func shown(t *testing.T, s *Source) *x509.Certificate {
	t.Helper()
	cert, err := s.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

func TestSelfSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	names := []string{"chat.example.org", "conference.chat.example.org", "pubsub.chat.example.org", "bücher.example"}
	s, err := OpenSelfSigned(dir, names, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, File))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	leaf := shown(t, s)
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("the key is a %T", leaf.PublicKey)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	for _, name := range []string{"chat.example.org", "conference.chat.example.org", "pubsub.chat.example.org", "xn--bcher-kva.example", "localhost", "127.0.0.1", "::1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if leaf.VerifyHostname("example.org") == nil {
		t.Error("valid for more than it should be")
	}
	if !s.Expires().After(time.Now().Add(9 * 365 * 24 * time.Hour)) {
		t.Errorf("expires %s", s.Expires())
	}
	// A client that trusts it gets through.
	server, client := net.Pipe()
	defer server.Close()
	defer client.Close()
	go tls.Server(server, s.Config()).HandshakeContext(context.Background())
	if err := tls.Client(client, &tls.Config{RootCAs: roots, ServerName: "chat.example.org"}).HandshakeContext(t.Context()); err != nil {
		t.Error(err)
	}
	// The next start has the same.
	again, err := OpenSelfSigned(dir, names[:2], slog.New(slog.DiscardHandler))
	if err != nil || !shown(t, again).Equal(leaf) {
		t.Errorf("another one after a restart: %v", err)
	}
}

func TestSelfSignedIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, File)
	b, log := logger()
	open := func(names ...string) *x509.Certificate {
		t.Helper()
		s, err := OpenSelfSigned(dir, names, log)
		if err != nil {
			t.Fatal(err)
		}
		return shown(t, s)
	}
	first := open("localhost")
	second := open("localhost", "example.org")
	if second.Equal(first) || second.VerifyHostname("example.org") != nil || !strings.Contains(b.String(), "does not have example.org") {
		t.Errorf("with another name:\n%s", b)
	}
	old, err := selfSigned([]string{"localhost"}, time.Now().Add(time.Hour-validity))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if third := open("localhost"); time.Until(third.NotAfter) < Soon || !strings.Contains(b.String(), "reason=expires") {
		t.Errorf("nearly expired:\n%s", b)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestSelfSignedRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, File)
	for _, tt := range []struct {
		content string
		mode    fs.FileMode
		want    string
	}{
		{"nothing", 0o600, "hint: remove " + path},
		{"nothing", 0o640, "hint: chmod 600"},
	} {
		if err := os.WriteFile(path, []byte(tt.content), tt.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSelfSigned(dir, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, %04o: %v", tt.content, tt.mode, err)
		}
	}
	if _, err := OpenSelfSigned(t.TempDir(), []string{"a b"}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a name that is none")
	}
	if _, err := OpenSelfSigned(path, nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory that is a file")
	}
}

// put writes a certificate for the name into the directory as two files, as an operator would.
func put(t *testing.T, dir, name string, made time.Time) (certFile, keyFile string) {
	t.Helper()
	both, err := selfSigned([]string{name}, made)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, _ := strings.Cut(string(both), "-----BEGIN PRIVATE KEY")
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, content := range map[string]string{certFile: cert, keyFile: "-----BEGIN PRIVATE KEY" + key} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, made, made); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// What an operator renews is shown without a restart; what cannot be read is not.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile := put(t, dir, "one.example", time.Now())
		b, log := logger()
		s, err := Open(certFile, keyFile, log)
		if err != nil {
			t.Fatal(err)
		}
		is := func(name string) {
			t.Helper()
			if leaf := shown(t, s); leaf.VerifyHostname(name) != nil {
				t.Errorf("shows one for %s, want %s", leaf.DNSNames, name)
			}
		}
		is("one.example")
		put(t, dir, "two.example", time.Now().Add(time.Minute))
		is("one.example") // it was looked at just now
		time.Sleep(checkInterval)
		is("two.example")
		if !strings.Contains(b.String(), "read a new one") {
			t.Errorf("the log has\n%s", b)
		}
		// The key is written first: the pair does not fit for a while.
		key, err := os.ReadFile(keyFile)
		if err != nil {
			t.Fatal(err)
		}
		put(t, dir, "three.example", time.Now().Add(2*time.Minute))
		newKey, err := os.ReadFile(keyFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(keyFile, key, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval)
		is("two.example")
		time.Sleep(checkInterval)
		is("two.example")
		if n := strings.Count(b.String(), "goes on with the one it has"); n != 1 {
			t.Errorf("warned %d times\n%s", n, b)
		}
		if err := os.WriteFile(keyFile, append(newKey, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval)
		is("three.example")
		if err := os.Remove(keyFile); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval)
		is("three.example")
	})
}

func TestExpiryIsWarnedOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile := put(t, dir, "x.example", time.Now().Add(-validity+Soon+24*time.Hour))
		b, log := logger()
		s, err := Open(certFile, keyFile, log)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			later time.Duration
			soon  int
			over  int
		}{{0, 0, 0}, {25 * time.Hour, 1, 0}, {time.Hour, 1, 0}, {24 * time.Hour, 2, 0}, {Soon, 2, 1}} {
			time.Sleep(tt.later)
			shown(t, s)
			if soon, over := strings.Count(b.String(), "expires soon"), strings.Count(b.String(), "has expired"); soon != tt.soon || over != tt.over {
				t.Errorf("after %s more: %d and %d warnings, want %d and %d\n%s", tt.later, soon, over, tt.soon, tt.over, b)
			}
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := put(t, dir, "x.example", time.Now())
	for _, tt := range []struct{ cert, key, want string }{
		{"none.pem", keyFile, "none.pem"},
		{certFile, "none.pem", "none.pem"},
		{certFile, certFile, "cert.pem"},
	} {
		if _, err := Open(tt.cert, tt.key, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %v", tt.cert, tt.key, err)
		}
	}
}
