package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/journal"
	"tidings/xmpp/sasl"
)

// store is a bucket in memory that other processes may share.
type store struct {
	mu       sync.Mutex
	entries  map[string][]byte
	watchers []func(string, []byte)
	fail     error
}

func newStore() *store { return &store{entries: map[string][]byte{}} }

func (s *store) Put(_ context.Context, key string, value []byte) error { return s.change(key, value) }
func (s *store) Delete(_ context.Context, key string) error            { return s.change(key, nil) }

func (s *store) change(key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if value == nil {
		delete(s.entries, key)
	} else {
		s.entries[key] = value
	}
	for _, f := range s.watchers {
		f(key, value)
	}
	return nil
}

func (s *store) Watch(_ context.Context, f func(string, []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for key, value := range s.entries {
		f(key, value)
	}
	s.watchers = append(s.watchers, f)
	return nil
}

func open(t testing.TB, s Store) *Accounts {
	t.Helper()
	a, err := Open(t.Context(), s, Options{Iterations: sasl.MinIterations, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func names(list []Info) string {
	var ns []string
	for _, i := range list {
		ns = append(ns, i.Name)
	}
	return strings.Join(ns, " ")
}

// logIn logs in and returns the account's localpart.
func logIn(t testing.TB, a *Accounts, mechanism, name, password string) (string, error) {
	t.Helper()
	c, err := sasl.NewClient(mechanism, sasl.Credentials{Username: name, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	n := (&sasl.Server{Domain: "localhost", Accounts: a}).Negotiate(sasl.Conn{TLS: true, Addr: netip.MustParseAddr("127.0.0.1")})
	data, done, err := n.Start(t.Context(), mechanism, c.Initial())
	for err == nil && !done {
		response, cerr := c.Next(data)
		if cerr != nil {
			t.Fatal(cerr)
		}
		data, done, err = n.Next(t.Context(), response)
	}
	if err == nil && c.Success(data) != nil {
		t.Errorf("%s: the server has not proved itself", mechanism)
	}
	return n.Identity().Account, err
}

func TestLife(t *testing.T) {
	s := newStore()
	a := open(t, s)
	ctx := t.Context()
	var deleted, changed []string
	a.OnDelete(func(name string) { deleted = append(deleted, name) })
	a.OnPassword(func(name string) { changed = append(changed, name) })

	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.Add(ctx, "Alice", "pencil"))
	must(a.Add(ctx, "zoë", "pass\u00a0word"))
	if got := names(a.List()); got != "alice zoë" {
		t.Errorf("the accounts are %s", got)
	}
	for _, m := range []string{sasl.ScramSHA1, sasl.ScramSHA256, sasl.ScramSHA512, sasl.Plain} {
		if name, err := logIn(t, a, m, "ALICE", "pencil"); err != nil || name != "alice" {
			t.Errorf("%s: %q, %v", m, name, err)
		}
		if name, err := logIn(t, a, m, "zoë", "pass word"); err != nil || name != "zoë" {
			t.Errorf("%s: %q, %v", m, name, err)
		}
	}
	if err := a.Add(ctx, "aLICE", "other"); !errors.Is(err, ErrExists) {
		t.Errorf("a second one: %v", err)
	}
	before, _ := a.Lookup("Alice")
	must(a.SetPassword(ctx, "ALICE", "crayon"))
	if _, err := logIn(t, a, sasl.ScramSHA256, "alice", "pencil"); sasl.ConditionOf(err) != sasl.NotAuthorized {
		t.Errorf("the old password: %v", err)
	}
	if _, err := logIn(t, a, sasl.ScramSHA256, "alice", "crayon"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if after, ok := a.Lookup("alice"); !ok || !after.Created.Equal(before.Created) || after.Changed.Before(before.Changed) || after.Created.IsZero() {
		t.Errorf("%+v became %+v", before, after)
	}
	if !slices.Equal(changed, []string{"alice"}) || len(deleted) != 0 {
		t.Errorf("changed %v, deleted %v", changed, deleted)
	}
	must(a.Delete(ctx, "Alice"))
	if a.Exists("alice") || !slices.Equal(deleted, []string{"alice"}) {
		t.Errorf("deleted %v", deleted)
	}
	if _, err := logIn(t, a, sasl.ScramSHA256, "alice", "crayon"); sasl.ConditionOf(err) != sasl.NotAuthorized {
		t.Errorf("without an account: %v", err)
	}
	for _, err := range []error{a.Delete(ctx, "alice"), a.SetPassword(ctx, "alice", "x")} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%v, want %v", err, ErrNotFound)
		}
	}
	for key, value := range s.entries {
		if bytes.Contains(value, []byte("pencil")) || bytes.Contains(value, []byte("crayon")) || bytes.Contains(value, []byte("word")) {
			t.Errorf("%s has a password: %s", key, value)
		}
	}
	// What another start reads is the same.
	b := open(t, s)
	if name, err := logIn(t, b, sasl.ScramSHA512, "zoë", "pass word"); err != nil || name != "zoë" {
		t.Errorf("after a restart: %q, %v", name, err)
	}
	if st := b.Stats(); st.Accounts != 1 || st.Malformed != 0 || st.Failed != 0 {
		t.Errorf("%+v", st)
	}
}

func TestNamesAndPasswords(t *testing.T) {
	a := open(t, newStore())
	for _, name := range []string{"", ".", "..", "a b", "a@b", "a/b", "a'b", "a\x00", "\xff", strings.Repeat("x", MaxName+1), "<x>", "a\u2003b"} {
		for _, err := range []error{a.Add(t.Context(), name, "x"), a.SetPassword(t.Context(), name, "x"), a.Delete(t.Context(), name)} {
			if !errors.Is(err, ErrName) {
				t.Errorf("the name %.40q: %v", name, err)
			}
		}
		if _, ok := a.Lookup(name); ok {
			t.Errorf("there is %.40q", name)
		}
	}
	for i, password := range []string{"", "\x00", "a\nb", "\xff", strings.Repeat("x", sasl.MaxPassword+1)} {
		if err := a.Add(t.Context(), "x"+strconv.Itoa(i), password); !errors.Is(err, ErrPassword) || password != "" && strings.Contains(fmt.Sprint(err), password) {
			t.Errorf("the password %.40q: %v", password, err)
		}
	}
	if err := a.Add(t.Context(), strings.Repeat("x", MaxName), strings.Repeat("x", sasl.MaxPassword)); err != nil {
		t.Error(err)
	}
}

// What another process does to the accounts has the same effects here.
func TestOtherProcesses(t *testing.T) {
	s := newStore()
	a, b := open(t, s), open(t, s)
	var log []string
	stop := b.OnDelete(func(name string) { log = append(log, "deleted "+name) })
	b.OnPassword(func(name string) { log = append(log, "password "+name) })
	ctx := t.Context()
	for _, err := range []error{a.Add(ctx, "x", "1"), a.SetPassword(ctx, "x", "2"), a.Delete(ctx, "x"), a.Add(ctx, "x", "3")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"password x", "deleted x"}; !slices.Equal(log, want) || !b.Exists("x") {
		t.Errorf("%v, want %v", log, want)
	}
	// Both make up the same salts.
	ka, _ := a.Keys("nobody", sasl.SHA1)
	kb, _ := b.Keys("nobody", sasl.SHA1)
	if !bytes.Equal(ka.Salt, kb.Salt) {
		t.Error("the salt of nobody differs")
	}
	// An account that was removed and made again, of which the store tells only the last.
	other := newStore()
	if err := open(t, other).Add(ctx, "x", "4"); err != nil {
		t.Fatal(err)
	}
	value := bytes.Replace(other.entries["user/x"], []byte(`"created":"`), []byte(`"created":"1`), 1)
	value = bytes.Replace(value, []byte(`"created":"12`), []byte(`"created":"1`), 1)
	log = nil
	if err := s.Put(ctx, "user/x", value); err != nil {
		t.Fatal(err)
	}
	if want := []string{"deleted x"}; !slices.Equal(log, want) {
		t.Errorf("made again: %v, want %v", log, want)
	}
	stop()
	log = nil
	if err := a.Delete(ctx, "x"); err != nil || len(log) != 0 {
		t.Errorf("after stop: %v, %v", log, err)
	}
}

// An entry that cannot be read is no account, is counted, and disturbs no other.
func TestMalformedEntries(t *testing.T) {
	s := newStore()
	first := open(t, s)
	if err := first.Add(t.Context(), "good", "x"); err != nil {
		t.Fatal(err)
	}
	good := string(s.entries["user/good"])
	for key, value := range map[string]string{
		"user/":         good,
		"user/Bad":      good,
		"user/a b":      good,
		"else":          good,
		"user/empty":    "",
		"user/no-json":  "{",
		"user/version":  strings.Replace(good, `"v":1`, `"v":2`, 1),
		"user/no-keys":  `{"v":1}`,
		"user/no-sha-1": strings.Replace(good, `"SHA-1"`, `"SHA-2"`, 1),
		"user/few":      strings.Replace(good, `"iterations":4096`, `"iterations":4095`, 1),
		"user/short":    strings.Replace(good, `"stored_key":"`, `"stored_key":"AAAA`, 1),
		"user/no-salt":  strings.ReplaceAll(good, `"salt":`, `"sale":`),
	} {
		s.entries[key] = []byte(value)
	}
	var logged bytes.Buffer
	a, err := Open(t.Context(), s, Options{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if st := a.Stats(); names(a.List()) != "good" || st.Malformed != 12 || strings.Count(logged.String(), "reason=malformed") != 1 {
		t.Errorf("%s, %+v\n%s", names(a.List()), st, &logged)
	}
	// A bad entry takes the account it replaces with it.
	gone := ""
	a.OnDelete(func(name string) { gone = name })
	if err := s.Put(t.Context(), "user/good", []byte("{")); err != nil || a.Exists("good") || gone != "good" {
		t.Errorf("%v, gone %q", err, gone)
	}
	for _, secret := range []string{"{", `{"v":2,"secret":""}`, `{"v":1,"secret":"AAAA"}`} {
		before, _ := a.Keys("nobody", sasl.SHA1)
		if err := s.Put(t.Context(), "secret", []byte(secret)); err != nil {
			t.Fatal(err)
		}
		if after, _ := a.Keys("nobody", sasl.SHA1); !bytes.Equal(before.Salt, after.Salt) {
			t.Errorf("the secret %s is taken", secret)
		}
	}
}

func TestStoreFails(t *testing.T) {
	s := newStore()
	a := open(t, s)
	ctx := t.Context()
	if err := a.Add(ctx, "x", "1"); err != nil {
		t.Fatal(err)
	}
	s.fail = errors.New("the disk is full")
	for _, err := range []error{a.Add(ctx, "y", "1"), a.SetPassword(ctx, "x", "2"), a.Delete(ctx, "x")} {
		if !errors.Is(err, s.fail) {
			t.Errorf("%v", err)
		}
	}
	if _, err := logIn(t, a, sasl.ScramSHA1, "x", "1"); err != nil || names(a.List()) != "x" {
		t.Errorf("%v, %s", err, names(a.List()))
	}
	if _, err := Open(ctx, s, Options{}); !errors.Is(err, s.fail) {
		t.Errorf("opening: %v", err)
	}
	if _, err := Open(ctx, newStore(), Options{Iterations: sasl.MinIterations - 1}); err == nil {
		t.Error("too few iterations are taken")
	}
}

// The keys of nobody are always the same, differ by name and hash, and look like those of an account.
func TestKeysOfNobody(t *testing.T) {
	s := newStore()
	a := open(t, s)
	if err := a.Add(t.Context(), "alice", "pencil"); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, h := range sasl.Hashes {
		real, account := a.Keys("Alice", h)
		if account != "alice" {
			t.Errorf("%s: the account is %q", h, account)
		}
		for _, name := range []string{"nobody", "no body", "bob", "", "\xff", strings.Repeat("x", 2000)} {
			k, account := a.Keys(name, h)
			if account != "" || k.Iterations != real.Iterations || len(k.Salt) != len(real.Salt) || len(k.StoredKey) != len(real.StoredKey) || len(k.ServerKey) != len(real.ServerKey) {
				t.Errorf("%s: %.20q: %q, %+v", h, name, account, k)
			}
			if other, ok := seen[string(k.Salt)]; ok {
				t.Errorf("%s: %.20q has the salt of %s", h, name, other)
			}
			seen[string(k.Salt)] = fmt.Sprintf("%s: %.20q", h, name)
			again, _ := open(t, s).Keys(name, h)
			if !bytes.Equal(again.Salt, k.Salt) || !bytes.Equal(again.StoredKey, k.StoredKey) {
				t.Errorf("%s: %.20q: another salt after a restart", h, name)
			}
		}
	}
	// A name in capitals is the same nobody.
	k, _ := a.Keys("Nobody", sasl.SHA1)
	same, _ := a.Keys("nobody", sasl.SHA1)
	if !bytes.Equal(k.Salt, same.Salt) {
		t.Error("capitals tell who is nobody")
	}
}

// The real store: what was acknowledged is there after a restart.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	var salt []byte
	for round := range 3 {
		j, err := journal.OpenJetStream(ctx, journal.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		b, err := j.Bucket(ctx, "accounts")
		if err != nil {
			t.Fatal(err)
		}
		a := open(t, b)
		deleted := 0
		a.OnDelete(func(string) { deleted++ })
		k, _ := a.Keys("nobody", sasl.SHA256)
		switch round {
		case 0:
			salt = k.Salt
			err = errors.Join(a.Add(ctx, "alice", "1"), a.Add(ctx, "żółw.名前+tag", "1"), a.Add(ctx, "bob", "1"))
		case 1:
			err = errors.Join(a.SetPassword(ctx, "alice", "2"), a.Delete(ctx, "bob"))
			if deleted != 1 {
				t.Errorf("%d calls", deleted)
			}
		case 2:
			if _, err := logIn(t, a, sasl.ScramSHA256, "alice", "2"); err != nil || names(a.List()) != "alice żółw.名前+tag" {
				t.Errorf("%v, %s", err, names(a.List()))
			}
		}
		if err != nil || !bytes.Equal(k.Salt, salt) {
			t.Errorf("round %d: %v, salts %x and %x", round, err, k.Salt, salt)
		}
		a.Close()
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzEntry(f *testing.F) {
	s := newStore()
	a, err := Open(f.Context(), s, Options{Iterations: sasl.MinIterations})
	if err != nil {
		f.Fatal(err)
	}
	if err := a.Add(f.Context(), "alice", "pencil"); err != nil {
		f.Fatal(err)
	}
	for key, value := range maps.All(s.entries) {
		f.Add(key, value)
	}
	f.Add("user/x", []byte(`{"v":1,"keys":{"SHA-1":null,"SHA-256":{"iterations":-1},"SHA-512":{"salt":"!"}}}`))
	f.Add("user/x", []byte(`null`))
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		s := newStore()
		s.entries[key] = value
		a := open(t, s)
		for _, i := range a.List() {
			for _, h := range sasl.Hashes {
				k, account := a.Keys(i.Name, h)
				if account != i.Name || len(k.StoredKey) != h.Size() || k.Iterations < sasl.MinIterations {
					t.Fatalf("%q %q: an account of no use", key, value)
				}
			}
			if err := a.Delete(t.Context(), i.Name); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// BenchmarkAttempt compares a wrong password with a name that has no account: both should take the same time. It takes them in
// random order, so that whatever else the machine does falls on both, and reports the first decile and the median of each. The
// half of SCRAM that is the client's is not in it.
func BenchmarkAttempt(b *testing.B) {
	a, err := Open(b.Context(), newStore(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	if err := a.Add(b.Context(), "alice", "pencil"); err != nil {
		b.Fatal(err)
	}
	srv := &sasl.Server{Domain: "localhost", Accounts: untimed{a}}
	messages := map[string][]string{
		sasl.Plain:       {"\x00NAME\x00wrong"},
		sasl.ScramSHA1:   {"n,,n=NAME,r=abc", "c=biws,NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
		sasl.ScramSHA256: {"n,,n=NAME,r=abc", "c=biws,NONCE,p=" + strings.Repeat("A", 43) + "="},
	}
	for _, m := range slices.Sorted(maps.Keys(messages)) {
		b.Run(m, func(b *testing.B) {
			names, took := []string{"alice", "carol"}, [2][]time.Duration{}
			for b.Loop() {
				i := rand.IntN(2)
				name := names[i]
				began := time.Now()
				n := srv.Negotiate(sasl.Conn{TLS: true})
				challenge, _, err := n.Start(b.Context(), m, []byte(strings.Replace(messages[m][0], "NAME", name, 1)))
				if len(messages[m]) > 1 {
					nonce, _, _ := strings.Cut(string(challenge), ",")
					_, _, err = n.Next(b.Context(), []byte(strings.Replace(messages[m][1], "NONCE", nonce, 1)))
				}
				if sasl.ConditionOf(err) != sasl.NotAuthorized {
					b.Fatal(err)
				}
				took[i] = append(took[i], time.Since(began))
			}
			for i, what := range []string{"wrong", "nobody"} {
				if slices.Sort(took[i]); len(took[i]) > 0 {
					b.ReportMetric(float64(took[i][len(took[i])/10]), "ns-p10-"+what)
					b.ReportMetric(float64(took[i][len(took[i])/2]), "ns-p50-"+what)
				}
			}
		})
	}
}

// untimed are accounts without throttling.
type untimed struct{ *Accounts }

func (untimed) Attempt(context.Context, string, netip.Addr) (func(bool), error) {
	return func(bool) {}, nil
}
