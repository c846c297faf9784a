package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
)

// memStore is a bucket in memory that several policies may share, as processes share a cluster's.
type memStore struct {
	mu       sync.Mutex
	entries  map[string][]byte
	watchers []func(string, []byte)
	fail     error // of Put and Delete
}

func newMemStore() *memStore { return &memStore{entries: map[string][]byte{}} }

func (s *memStore) change(key string, value []byte) error {
	s.mu.Lock()
	if s.fail != nil {
		defer s.mu.Unlock()
		return s.fail
	}
	if value == nil {
		delete(s.entries, key)
	} else {
		s.entries[key] = value
	}
	ws := s.watchers
	s.mu.Unlock()
	for _, w := range ws {
		w(key, value)
	}
	return nil
}

func (s *memStore) Put(_ context.Context, key string, value []byte) error {
	return s.change(key, value)
}
func (s *memStore) Delete(_ context.Context, key string) error { return s.change(key, nil) }

func (s *memStore) Watch(_ context.Context, f func(string, []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for k, v := range maps.Clone(s.entries) {
		f(k, v)
	}
	s.watchers = append(s.watchers, f)
	return nil
}

type tb interface {
	Helper()
	Fatal(...any)
	Context() context.Context
	Cleanup(func())
}

func open(t tb, store Store, o Options) *Policy {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p, err := Open(t.Context(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	})
	return p
}

func create(t tb, p *Policy, ttl time.Duration, scopes ...string) (token string) {
	t.Helper()
	_, token, err := p.Create(t.Context(), "test", scopes, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func actor(t tb, p *Policy, token string) tidings.Actor {
	t.Helper()
	a, err := p.Authenticate(token)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func patterns(ss ...string) (ps []tidings.Pattern) {
	for _, s := range ss {
		ps = append(ps, tidings.MustPattern(s))
	}
	return ps
}

func TestTokenLife(t *testing.T) {
	store := newMemStore()
	p := open(t, store, Options{})
	calls := 0
	p.OnChange(func() { calls++ })

	tok := create(t, p, 0, "publish:/news/**", "read:/a")
	if !strings.HasPrefix(tok, TokenPrefix) || len(tok) != len(TokenPrefix)+idChars+1+secretChars {
		t.Errorf("token %q", tok)
	}
	a := actor(t, p, tok)
	if a.Kind != tidings.Token || !strings.Contains(tok, a.Name) || len(a.Scopes) != 2 {
		t.Errorf("actor %+v", a)
	}
	p.Each(func(id, name string, scopes []tidings.Scope, created, expires time.Time) {
		if id != a.Name || name != "test" || len(scopes) != 2 || created.IsZero() || !expires.IsZero() {
			t.Errorf("each: %s %s %v %v %v", id, name, scopes, created, expires)
		}
	})
	if l := p.List(); len(l) != 1 || l[0].ID != a.Name || l[0].Name != "test" || l[0].Created.IsZero() || !l[0].Expires.IsZero() {
		t.Errorf("list %+v", l)
	}
	if calls != 0 {
		t.Error("a new token is no change to anybody")
	}
	for k, v := range store.entries {
		_, secret, _ := strings.Cut(strings.TrimPrefix(tok, TokenPrefix), "_")
		if strings.Contains(k+string(v), secret) {
			t.Errorf("the store has the secret: %s", v)
		}
	}

	if err := p.Revoke(t.Context(), a.Name); err != nil {
		t.Fatal(err)
	}
	if calls != 1 {
		t.Errorf("%d calls for a revocation", calls)
	}
	if _, err := p.Authenticate(tok); tidings.KindOf(err) != tidings.ErrUnauthenticated {
		t.Errorf("revoked token: %v", err)
	}
	if err := p.May(a, tidings.PublishAction, "/news/x"); tidings.KindOf(err) != tidings.ErrUnauthenticated {
		t.Errorf("actor of a revoked token, its scopes still in it: %v", err)
	}
	if err := p.Revoke(t.Context(), a.Name); tidings.KindOf(err) != tidings.ErrNotFound {
		t.Errorf("second revocation: %v", err)
	}
	if len(store.entries) != 0 || len(p.List()) != 0 {
		t.Error("the revoked token is still there")
	}
}

func TestTokensOutliveTheProcess(t *testing.T) {
	store := newMemStore()
	p := open(t, store, Options{})
	tok := create(t, p, time.Hour, "publish:/news/**")
	before := p.List()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p = open(t, store, Options{})
	if err := p.May(actor(t, p, tok), tidings.PublishAction, "/news/x"); err != nil {
		t.Error(err)
	}
	if got := p.List(); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("list %v, before %v", got, before)
	}
}

// A revocation has been told to everybody before it returns, whoever made it.
func TestRevokeElsewhere(t *testing.T) {
	store := newMemStore()
	here, there := open(t, store, Options{}), open(t, store, Options{})
	a := actor(t, here, create(t, there, 0, "publish:/a"))
	var ended []string
	stop := here.OnChange(func() {
		if err := here.May(a, tidings.PublishAction, "/a"); err != nil && here.Audience(a) == nobody {
			ended = append(ended, a.Name)
		}
	})
	if err := there.Revoke(t.Context(), a.Name); err != nil {
		t.Fatal(err)
	}
	if len(ended) != 1 {
		t.Errorf("ended %v", ended)
	}
	// After the function returned was called, no more calls.
	stop()
	b := actor(t, here, create(t, there, 0, "publish:/a"))
	if err := there.Revoke(t.Context(), b.Name); err != nil {
		t.Fatal(err)
	}
	if len(ended) != 1 {
		t.Error("called after it was stopped")
	}
}

// slowStore delivers changes on another goroutine and returns before they were taken in, which is less than a bucket
// promises: Revoke still waits for the callbacks.
type slowStore struct {
	*memStore
	begin chan struct{}
	wg    sync.WaitGroup
}

func (s *slowStore) Delete(ctx context.Context, key string) error {
	s.wg.Go(func() { <-s.begin; _ = s.memStore.Delete(ctx, key) })
	return nil
}

func TestRevokeWaitsForCallbacks(t *testing.T) {
	store := &slowStore{memStore: newMemStore(), begin: make(chan struct{})}
	p := open(t, store, Options{})
	a := actor(t, p, create(t, p, 0, "publish:/a"))
	calls := 0
	p.OnChange(func() { calls++ })
	if err := p.Revoke(t.Context(), a.Name); err != nil {
		t.Fatal(err)
	}
	if calls != 1 {
		t.Errorf("%d calls when Revoke returned", calls)
	}
	close(store.begin)
	store.wg.Wait()
	if calls != 1 {
		t.Errorf("%d calls after the watch told the same", calls)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		p := open(t, store, Options{Private: patterns("/p")})
		var at []time.Time
		p.OnChange(func() { at = append(at, time.Now()) })
		begin := time.Now()
		one := actor(t, p, create(t, p, time.Minute, "read:/p"))
		two := actor(t, p, create(t, p, time.Hour, "read:/p"))
		tok := create(t, p, 10*time.Minute, "read:/p")
		time.Sleep(time.Minute - time.Nanosecond)
		synctest.Wait()
		if len(at) != 0 || p.May(one, tidings.ReadAction, "/p") != nil {
			t.Errorf("expired early: %v", at)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if len(at) != 1 || !at[0].Equal(begin.Add(time.Minute)) {
			t.Errorf("calls at %v", at)
		}
		if err := p.May(one, tidings.ReadAction, "/public"); tidings.KindOf(err) != tidings.ErrUnauthenticated || !strings.Contains(err.Error(), "expired") {
			t.Errorf("expired token: %v", err)
		}
		if p.Audience(one) != nobody || p.Audience(two) == nobody {
			t.Errorf("audiences %q, %q", p.Audience(one), p.Audience(two))
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if _, err := p.Authenticate(tok); tidings.KindOf(err) != tidings.ErrUnauthenticated || !strings.Contains(err.Error(), "expired") {
			t.Errorf("expired token: %v", err)
		}
		if len(at) != 2 || len(p.List()) != 3 || p.Stats().Tokens != 3 {
			t.Errorf("%d calls, list %v", len(at), p.List())
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if len(at) != 2 {
			t.Error("called after Close")
		}
		// A policy opened after the expiry knows it without being told.
		q := open(t, store, Options{})
		if err := q.May(two, tidings.ReadAction, "/p"); tidings.KindOf(err) != tidings.ErrUnauthenticated {
			t.Errorf("after reopening: %v", err)
		}
	})
}

func TestRewritten(t *testing.T) {
	store := newMemStore()
	p := open(t, store, Options{})
	tok := create(t, p, 0, "publish:/a", "publish:/b")
	a := actor(t, p, tok)
	calls := 0
	p.OnChange(func() { calls++ })
	narrower := strings.Replace(string(store.entries[a.Name]), `"publish:/a",`, "", 1)
	if err := store.Put(t.Context(), a.Name, []byte(narrower)); err != nil {
		t.Fatal(err)
	}
	if calls != 1 || p.May(a, tidings.PublishAction, "/a") == nil || p.May(a, tidings.PublishAction, "/b") != nil {
		t.Errorf("calls %d, scopes %v", calls, p.List()[0].Scopes)
	}
	if err := store.Put(t.Context(), a.Name, []byte(narrower)); err != nil || calls != 1 {
		t.Errorf("the same again: %d calls, %v", calls, err)
	}
}

func TestMalformedEntries(t *testing.T) {
	store := newMemStore()
	p := open(t, store, Options{})
	tok := create(t, p, 0, "publish:/a")
	a := actor(t, p, tok)
	good := string(store.entries[a.Name])
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for i, bad := range []string{
		"", "{", "null", "{}",
		strings.Replace(good, "publish:/a", "fly:/a", 1),
		strings.Replace(good, `"sha256":"`, `"sha256":"00`, 1),
		strings.Replace(good, `"sha256":"`, `"sha256":"é`, 1),
		strings.Replace(good, `"name":"test"`, `"name":"\u0000"`, 1),
	} {
		store.entries = map[string][]byte{a.Name: []byte(bad), "not-an-id": []byte(good)}
		p := open(t, store, Options{})
		if s := p.Stats(); s.Tokens != 0 || s.Malformed != 2 {
			t.Errorf("entry %d %q: %+v", i, bad, s)
		}
		if _, err := p.Authenticate(tok); err == nil {
			t.Errorf("entry %d %q authenticates", i, bad)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	p := open(t, newMemStore(), Options{})
	one := []string{"read:/a"}
	var many []string
	for i := range MaxScopes + 1 {
		many = append(many, fmt.Sprint("read:/", i))
	}
	for _, tt := range []struct {
		why, name string
		scopes    []string
		ttl       time.Duration
	}{
		{"no name", "", one, 0},
		{"long name", strings.Repeat("n", MaxNameBytes+1), one, 0},
		{"control character", "a\nb", one, 0},
		{"broken UTF-8", "a\xff", one, 0},
		{"no scope", "n", nil, 0},
		{"too many scopes", "n", many, 0},
		{"malformed scope", "n", []string{"/a"}, 0},
		{"unknown action", "n", []string{"fly:/a"}, 0},
		{"negative life", "n", one, -time.Second},
	} {
		if _, tok, err := p.Create(t.Context(), tt.name, tt.scopes, tt.ttl); tidings.KindOf(err) != tidings.ErrInvalid || tok != "" {
			t.Errorf("%s: %q, %v", tt.why, tok, err)
		}
	}
}

func TestStoreFails(t *testing.T) {
	store := newMemStore()
	p := open(t, store, Options{})
	tok := create(t, p, 0, "publish:/a")
	a := actor(t, p, tok)
	store.fail = errors.New("disk full")
	if _, _, err := p.Create(t.Context(), "n", []string{"read:/a"}, 0); tidings.KindOf(err) != tidings.ErrUnavailable {
		t.Errorf("create: %v", err)
	}
	if err := p.Revoke(t.Context(), a.Name); tidings.KindOf(err) != tidings.ErrUnavailable {
		t.Errorf("revoke: %v", err)
	}
	if err := p.May(a, tidings.PublishAction, "/a"); err != nil {
		t.Errorf("a revocation that was refused took effect: %v", err)
	}
	if _, err := Open(t.Context(), store, Options{}); tidings.KindOf(err) != tidings.ErrUnavailable {
		t.Errorf("open: %v", err)
	}
}

func TestRevokeRefusesAdmin(t *testing.T) {
	p := open(t, newMemStore(), Options{AdminToken: strings.Repeat("x", 40)})
	if err := p.Revoke(t.Context(), adminID); tidings.KindOf(err) != tidings.ErrForbidden {
		t.Error(err)
	}
	// Without an admin token nobody is the admin.
	q := open(t, newMemStore(), Options{})
	if _, err := q.Authenticate(""); err == nil {
		t.Error("the empty token authenticates")
	}
	if err := q.May(tidings.Actor{Kind: tidings.Token, Name: adminID}, tidings.AdminAction, ""); err == nil {
		t.Error("there is an admin without a token")
	}
}

func TestConcurrentUse(t *testing.T) {
	p := open(t, newMemStore(), Options{Private: patterns("/p/**")})
	p.OnChange(func() { _ = p.Audience(tidings.Actor{}) })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				tok := create(t, p, time.Hour, "read:/p/**")
				a := actor(t, p, tok)
				if err := p.May(a, tidings.ReadAction, "/p/x"); err != nil {
					t.Error(err)
				}
				if err := p.Revoke(t.Context(), a.Name); err != nil {
					t.Error(err)
				}
				if p.Audience(a) != nobody {
					t.Error("a revoked token has an audience")
				}
			}
		})
	}
	wg.Wait()
	if n := p.Stats().Tokens; n != 0 {
		t.Errorf("%d tokens left", n)
	}
}
