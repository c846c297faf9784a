// Package account keeps the accounts of an XMPP server: a localpart and, of its password, the SCRAM keys of three hashes.
// Passwords themselves are nowhere.
//
//   - RFC 7622 section 3.3 and RFC 8265 section 3: localparts, by package jid; section 4: passwords
//   - RFC 5802 and RFC 7677: keys
//
// The stored form is JSON, one entry for each account under "user/" and its localpart:
//
//	{"v":1,"created":"2026-01-31T12:00:00Z","changed":"2026-01-31T12:00:00Z","keys":{
//	  "SHA-1":{"salt":"…","iterations":10000,"stored_key":"…","server_key":"…"},"SHA-256":{…},"SHA-512":{…}}}
//
// with bytes in base64; changed is when the password was last set. The entry "secret", {"v":1,"secret":"…"}, has the 32 random
// bytes from which the salts of accounts are made up that do not exist.
package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"tidings/xmpp/jid"
	"tidings/xmpp/sasl"
)

// MaxName is the length of a localpart in bytes of UTF-8. RFC 7622 allows 1023; a key of the store has room for less.
const MaxName = 200

// Errors of the methods that change accounts. Others are the store's.
var (
	ErrName     = errors.New("account: not a name that an account can have")
	ErrPassword = errors.New("account: not a password that an account can have")
	ErrExists   = errors.New("account: there is one with this name")
	ErrNotFound = errors.New("account: there is none with this name")
)

// Store is where accounts are kept: the same as a bucket of package journal, whose comments say what each method promises.
// A change has reached the function that watches when the method that made it returns.
type Store interface {
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
	Watch(ctx context.Context, f func(key string, value []byte)) error
}

// DefaultIterations is the iteration count of keys. There are clients that need half a second for it.
const DefaultIterations = 10_000

// Options are what Accounts are made from. The zero Options are of use.
type Options struct {
	// Iterations is the count for the keys of new passwords; DefaultIterations if 0, at least sasl.MinIterations. It is also
	// what names without an account are answered with, so that after a change of it older accounts can be told from them
	// until their passwords are set again.
	Iterations int
	// Log takes note of entries of the store that cannot be read; nil for slog.Default().
	Log *slog.Logger
}

// Info describes an account.
type Info struct {
	Name    string // the localpart, prepared
	Created time.Time
	Changed time.Time // when the password was last set
}

// Accounts are the accounts of one server. All methods may be called from many goroutines.
type Accounts struct {
	store      Store
	log        *slog.Logger
	iterations int
	throttle   throttle
	stop       context.CancelFunc // ends the watch

	// writing serialises the changes made here: each looks first at what there is. It is never held by the watch.
	writing sync.Mutex

	// telling serialises what the store says with the callbacks that it causes. It is taken before mu.
	telling  sync.Mutex
	deleted  map[int]func(string) // guarded by telling
	password map[int]func(string) // guarded by telling
	nextID   int                  // guarded by telling
	opened   bool                 // guarded by telling; entries before it are the store's content
	closed   bool                 // guarded by telling

	mu        sync.RWMutex
	accounts  map[string]*account
	secret    []byte
	malformed uint64
	lastLog   time.Time // of a malformed entry
}

var _ sasl.Authenticator = (*Accounts)(nil)

// Open returns the accounts in the store and follows the changes that other processes make to them, until Close. Errors are
// the store's, or say that the iteration count is too low.
func Open(ctx context.Context, store Store, opts Options) (*Accounts, error) {
	a := &Accounts{
		store: store, log: opts.Log, iterations: opts.Iterations,
		deleted: map[int]func(string){}, password: map[int]func(string){}, accounts: map[string]*account{},
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	if a.iterations == 0 {
		a.iterations = DefaultIterations
	}
	if a.iterations < sasl.MinIterations || a.iterations > sasl.MaxIterations {
		return nil, fmt.Errorf("account: %d iterations: want %d to %d", a.iterations, sasl.MinIterations, sasl.MaxIterations)
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx)) // it outlives the call
	a.stop = stop
	if err := store.Watch(watch, a.entry); err != nil {
		stop()
		return nil, fmt.Errorf("account: reading the accounts: %w", err)
	}
	a.mu.RLock()
	known := a.secret != nil
	a.mu.RUnlock()
	if !known {
		// Another process may do the same: all go by the last one written.
		if err := store.Put(ctx, secretKey, newSecret()); err != nil {
			stop()
			return nil, fmt.Errorf("account: storing the secret of salts: %w", err)
		}
	}
	a.telling.Lock()
	a.opened = true
	a.telling.Unlock()
	return a, nil
}

// Close ends the watch. No callback is running or begins once it has returned. The accounts that were known stay.
func (a *Accounts) Close() error {
	a.stop()
	a.telling.Lock()
	defer a.telling.Unlock()
	a.closed = true
	return nil
}

// Prepare returns the localpart that a name stands for, as it is in addresses: without capitals, for instance. The error
// wraps ErrName and repeats nothing of the name.
func Prepare(name string) (string, error) {
	if name == "" || name == "." || name == ".." { // the last two would mean something else in an HTTP path
		return "", fmt.Errorf("%w: it is empty, or dots only", ErrName)
	}
	j, err := jid.New(name, "localhost", "")
	if err != nil {
		return "", fmt.Errorf("%w: want letters, digits and the like, without blanks and \" & ' / : < > @", ErrName)
	}
	if len(j.Local()) > MaxName {
		return "", fmt.Errorf("%w: it has %d bytes and may have %d", ErrName, len(j.Local()), MaxName)
	}
	return j.Local(), nil
}

// Add makes an account. Errors: ErrName, ErrPassword, ErrExists, or the store's. Two processes that add one name at the same
// time may both succeed; the later password holds.
func (a *Accounts) Add(ctx context.Context, name, password string) error {
	return a.put(ctx, name, password, func(old *account) error {
		if old != nil {
			return ErrExists
		}
		return nil
	})
}

// SetPassword gives an account another password. When it returns, the callbacks of OnPassword have returned. Errors: ErrName,
// ErrPassword, ErrNotFound, or the store's.
func (a *Accounts) SetPassword(ctx context.Context, name, password string) error {
	return a.put(ctx, name, password, func(old *account) error {
		if old == nil {
			return ErrNotFound
		}
		return nil
	})
}

func (a *Accounts) put(ctx context.Context, name, password string, check func(old *account) error) error {
	name, err := Prepare(name)
	if err != nil {
		return err
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	old := a.get(name)
	if err := check(old); err != nil {
		return err
	}
	next, err := newAccount(password, a.iterations)
	if err != nil {
		return err
	}
	if old != nil {
		next.Created = old.Created
	}
	value, err := next.encode()
	if err != nil {
		return err
	}
	if err := a.store.Put(ctx, userKey+name, value); err != nil {
		return fmt.Errorf("account: storing the account: %w", err)
	}
	a.settle()
	return nil
}

// Delete removes an account. When it returns, nobody can log in with it and the callbacks of OnDelete have returned. Errors:
// ErrName, ErrNotFound, or the store's, after which the account is still there.
func (a *Accounts) Delete(ctx context.Context, name string) error {
	name, err := Prepare(name)
	if err != nil {
		return err
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	if a.get(name) == nil {
		return ErrNotFound
	}
	if err := a.store.Delete(ctx, userKey+name); err != nil {
		return fmt.Errorf("account: removing the account: %w", err)
	}
	a.settle()
	return nil
}

// settle waits for callbacks under way: the watch may have made a change and be telling of it still.
func (a *Accounts) settle() {
	a.telling.Lock()
	defer a.telling.Unlock()
}

// List returns the accounts, by name.
func (a *Accounts) List() []Info {
	a.mu.RLock()
	defer a.mu.RUnlock()
	list := make([]Info, 0, len(a.accounts))
	for name, acc := range a.accounts {
		list = append(list, acc.info(name))
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Lookup returns the account with the name, which need not be prepared.
func (a *Accounts) Lookup(name string) (Info, bool) {
	name, err := Prepare(name)
	if err != nil {
		return Info{}, false
	}
	if acc := a.get(name); acc != nil {
		return acc.info(name), true
	}
	return Info{}, false
}

// Exists reports whether there is an account with the localpart, which is prepared, as that of a jid.JID is.
func (a *Accounts) Exists(localpart string) bool { return a.get(localpart) != nil }

func (a *Accounts) get(name string) *account {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.accounts[name]
}

// OnDelete asks for a call of f with the localpart of each account that is removed from now on, by this process or by
// another, after which nobody can log in with it. The sessions of the account are for f to end. Calls come one at a time; f
// must not call Add, SetPassword, Delete, OnDelete, OnPassword, Close or stop, which ends the calls.
func (a *Accounts) OnDelete(f func(localpart string)) (stop func()) { return a.on(a.deleted, f) }

// OnPassword is OnDelete for accounts that are given another password. The old one is of no use when f is called.
func (a *Accounts) OnPassword(f func(localpart string)) (stop func()) { return a.on(a.password, f) }

func (a *Accounts) on(callbacks map[int]func(string), f func(string)) (stop func()) {
	a.telling.Lock()
	defer a.telling.Unlock()
	id := a.nextID
	a.nextID++
	callbacks[id] = f
	return func() {
		a.telling.Lock()
		defer a.telling.Unlock()
		delete(callbacks, id)
	}
}

// entry takes in an entry of the store, or its removal if value is nil.
func (a *Accounts) entry(key string, value []byte) {
	a.telling.Lock()
	defer a.telling.Unlock()
	if a.closed {
		return
	}
	if key == secretKey {
		if value != nil {
			a.takeSecret(value)
		}
		return
	}
	name, ok := strings.CutPrefix(key, userKey)
	if !ok {
		a.noteMalformed(key, errors.New("neither an account nor the secret"))
		return
	}
	var next *account
	if value != nil {
		var err error
		if next, err = decodeAccount(name, value); err != nil {
			a.noteMalformed(key, err) // as good as none: no account comes to life by accident
		}
	}
	a.mu.Lock()
	was := a.accounts[name]
	if next == nil {
		delete(a.accounts, name)
	} else {
		a.accounts[name] = next
	}
	a.mu.Unlock()
	if !a.opened || was == nil {
		return
	}
	callbacks := a.password
	switch {
	case next == nil || !next.Created.Equal(was.Created): // or removed and made again
		callbacks = a.deleted
	case next.same(was):
		return
	}
	for _, f := range callbacks {
		f(name)
	}
}

func (a *Accounts) takeSecret(value []byte) {
	secret, err := decodeSecret(value)
	if err != nil {
		a.noteMalformed(secretKey, err)
		return
	}
	a.mu.Lock()
	a.secret = secret
	a.mu.Unlock()
}

func (a *Accounts) noteMalformed(key string, err error) {
	const interval = 10 * time.Second
	a.mu.Lock()
	a.malformed++
	total, now := a.malformed, time.Now()
	say := now.Sub(a.lastLog) >= interval
	if say {
		a.lastLog = now
	}
	a.mu.Unlock()
	if say {
		a.log.Warn("account: passed over an entry of the store", "reason", "malformed", "key", key, "err", err, "total", total)
	}
}

// Stats are figures of Accounts; all but the first are since they were opened.
type Stats struct {
	Accounts  int
	Malformed uint64 // entries of the store that were passed over
	Failed    uint64 // attempts to log in with a wrong password, or without an account
	Delayed   uint64 // attempts that had to wait because others had failed
	Refused   uint64 // attempts that would have had to wait for too long
}

// Stats returns figures for /status and metrics.
func (a *Accounts) Stats() Stats {
	a.mu.RLock()
	st := Stats{Accounts: len(a.accounts), Malformed: a.malformed}
	a.mu.RUnlock()
	a.throttle.figures(&st)
	return st
}
