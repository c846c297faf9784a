package xmpptest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"tidings/xmpp/sasl"
)

// Users are the accounts of a server: of these names, or of every name but nobody if there are none. The password of each is its
// name.
type Users []string

// Exists reports whether there is the account.
func (u Users) Exists(localpart string) bool {
	return slices.Contains(u, localpart) || len(u) == 0 && localpart != "nobody"
}

// Keys returns the keys of an account, and its name, "" if it does not exist.
func (u Users) Keys(username string, h sasl.Hash) (keys sasl.Keys, localpart string) {
	k, err := h.Keys(username, []byte("salt"), sasl.MinIterations)
	if err != nil {
		panic(err)
	}
	if !u.Exists(username) {
		return k, ""
	}
	return k, username
}

// Attempt allows every attempt to log in.
func (Users) Attempt(context.Context, string, netip.Addr) (func(bool), error) {
	return func(bool) {}, nil
}

// Store keeps in memory what package im stores. Several services may share one. The zero value is empty.
type Store struct {
	mu sync.Mutex
	m  map[string][]byte
	fs []func(string, []byte)
}

// Put stores a value.
func (s *Store) Put(_ context.Context, key string, value []byte) error { return s.change(key, value) }

// Delete removes a value.
func (s *Store) Delete(_ context.Context, key string) error { return s.change(key, nil) }

func (s *Store) change(key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string][]byte{}
	}
	if value == nil {
		delete(s.m, key)
	} else {
		s.m[key] = slices.Clone(value)
	}
	for _, f := range s.fs {
		f(key, s.m[key])
	}
	return nil
}

// Watch calls f for what is stored, and from then on for each change.
func (s *Store) Watch(_ context.Context, f func(string, []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(s.m)) {
		f(k, s.m[k])
	}
	s.fs = append(s.fs, f)
	return nil
}

// Serve gives a listener on loopback to serve, and returns its address. stop, which the end of the test calls at the latest and
// which may be called again, calls end, which has to make serve return, and waits until it has.
func Serve(t testing.TB, serve func(net.Listener) error, end func()) (addr string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := serve(ln); err != nil {
			t.Error("serving:", err)
		}
	})
	stop = sync.OnceFunc(func() {
		end()
		serving.Wait()
	})
	t.Cleanup(stop)
	return ln.Addr().String(), stop
}

// Certificate returns the configuration of the server localhost with a certificate of its own, and that of a
// client who trusts it.
func Certificate(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}
