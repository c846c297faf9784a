package access

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"tidings"
)

// Store is where the tokens are kept: the same as a bucket of package journal, whose comments say what each method
// promises.
type Store interface {
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
	Watch(ctx context.Context, f func(key string, value []byte)) error
}

// Options are what a Policy is made from. The zero Options make every topic public and have no admin token.
type Options struct {
	// Private are the topics that only those with a read scope may read.
	Private []tidings.Pattern
	// AdminToken is the token of the administrator, as AdminToken returns it; none if empty.
	AdminToken string
	// Log takes note of entries of the store that cannot be read; nil for slog.Default().
	Log *slog.Logger
}

// Policy answers what actors may do and keeps the tokens. All methods may be called from many goroutines.
type Policy struct {
	privates []tidings.Pattern
	admin    digest // of the admin token; the zero digest if there is none
	store    Store
	log      *slog.Logger
	logLimit *rate.Limiter
	stop     context.CancelFunc // ends the watch

	nodes atomic.Pointer[Nodes] // nil until SetNodes

	// changing serialises changes with the callbacks they cause, so that a change that is found already made has been
	// told to everybody. It is taken before mu.
	changing sync.Mutex
	watchers map[int]func()  // guarded by changing
	nextID   int             // guarded by changing
	opened   bool            // guarded by changing; changes before it are the store's content
	closed   bool            // guarded by changing
	expiry   *time.Timer     // guarded by changing; fires when the next token expires
	told     []tidings.Topic // guarded by changing; the topics of the change that is being told

	mu        sync.RWMutex
	tokens    map[string]token // by id
	malformed uint64           // entries of the store that could not be read
}

// token is a token as it is held in memory.
type token struct {
	Info
	hash    digest
	expired bool // the callbacks have been told so
}

// Open returns the policy with the tokens in the store and follows the changes that other processes make to them, until
// Close. Errors are the store's.
func Open(ctx context.Context, store Store, opts Options) (*Policy, error) {
	p := &Policy{
		privates: tidings.Patterns(opts.Private...),
		store:    store,
		log:      opts.Log,
		logLimit: rate.NewLimiter(rate.Every(10*time.Second), 5),
		watchers: map[int]func(){},
		tokens:   map[string]token{},
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	if opts.AdminToken != "" {
		p.admin = digestOf(opts.AdminToken)
	}
	// The watch outlives the call that opens the policy.
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	if err := store.Watch(watch, p.entry); err != nil {
		stop()
		return nil, tidings.Errorf(tidings.ErrUnavailable, "access: reading the tokens: %w", err)
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	p.opened = true
	p.schedule()
	return p, nil
}

// Close ends the watch. No callback is running or begins once it has returned. May and Authenticate go on to answer from
// what was known.
func (p *Policy) Close() error {
	p.stop()
	p.changing.Lock()
	defer p.changing.Unlock()
	p.closed = true
	if p.expiry != nil {
		p.expiry.Stop()
	}
	return nil
}

// OnChange asks for a call of f after an actor may no longer do what it might before: a token was revoked, by this
// process or by another, has expired or was rewritten, or the rules of a node have changed. Revoke returns after f has. Calls come one at a time; f may call
// May and Audience and must not call Create, Revoke, OnChange, Close or the function returned, which ends the calls.
func (p *Policy) OnChange(f func()) (stop func()) {
	p.changing.Lock()
	defer p.changing.Unlock()
	id := p.nextID
	p.nextID++
	p.watchers[id] = f
	return func() {
		p.changing.Lock()
		defer p.changing.Unlock()
		delete(p.watchers, id)
	}
}

// Create makes a token with the scopes, in the form that ParseScope takes, that expires after ttl, or never if ttl is 0.
// The token is returned here and nowhere again: the store has its digest only. Errors: ErrInvalid, or the store's.
func (p *Policy) Create(ctx context.Context, name string, scopes []string, ttl time.Duration) (id, token string, err error) {
	parsed, err := ParseScopes(scopes)
	if err != nil {
		return "", "", err
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	i := Info{Name: name, Scopes: parsed, Created: now}
	if ttl < 0 {
		return "", "", tidings.Errorf(tidings.ErrInvalid, "a token cannot expire before it is made")
	}
	if ttl > 0 {
		i.Expires = now.Add(ttl)
	}
	if err := check(i); err != nil {
		return "", "", err
	}
	i.ID, token = newToken()
	value, err := encodeRecord(i, digestOf(token))
	if err != nil {
		return "", "", err
	}
	// The store calls entry before Put returns, so the token works from then on.
	if err := p.store.Put(ctx, i.ID, value); err != nil {
		return "", "", unavailable("storing the token", err)
	}
	return i.ID, token, nil
}

// Revoke ends the token with the id. When it returns, May forbids it everything and the callbacks of OnChange have
// returned, so what they end has ended. Errors: ErrNotFound, ErrForbidden for the admin token, or the store's, after
// which the token is still valid.
func (p *Policy) Revoke(ctx context.Context, id string) error {
	if id == adminID {
		return tidings.Errorf(tidings.ErrForbidden, "the admin token is not revoked here: stop the server, remove the file %s and start it again", AdminFile)
	}
	p.mu.RLock()
	_, ok := p.tokens[id]
	p.mu.RUnlock()
	if !ok {
		return tidings.Errorf(tidings.ErrNotFound, "there is no token with the id %q", shorten(id))
	}
	if err := p.store.Delete(ctx, id); err != nil {
		return unavailable("removing the token", err)
	}
	// The watch may have made the change already and be in the callbacks still; this waits for them.
	p.entry(id, nil)
	return nil
}

// List returns the tokens there are, the expired ones included and the admin token not, the oldest first.
func (p *Policy) List() []Info {
	p.mu.RLock()
	defer p.mu.RUnlock()
	list := make([]Info, 0, len(p.tokens))
	for _, t := range p.tokens {
		list = append(list, t.Info)
	}
	slices.SortFunc(list, func(a, b Info) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list
}

// Each calls f for each token of List, for those who may not import this package. A zero time in expires means never.
func (p *Policy) Each(f func(id, name string, scopes []tidings.Scope, created, expires time.Time)) {
	for _, i := range p.List() {
		f(i.ID, i.Name, i.Scopes, i.Created, i.Expires)
	}
}

// Authenticate returns the actor that the token stands for, of kind Token and named by the token's id. Errors are of
// kind ErrUnauthenticated.
func (p *Policy) Authenticate(bearer string) (tidings.Actor, error) {
	if p.isAdmin(bearer) {
		return tidings.Actor{Kind: tidings.Token, Name: adminID, Scopes: slices.Clone(adminScopes)}, nil
	}
	id, ok := idOf(bearer)
	p.mu.RLock()
	t := p.tokens[id]
	p.mu.RUnlock()
	// An id that is not known is compared too, with a digest nothing has, and so takes as long.
	if !t.hash.equal(digestOf(bearer)) || !ok {
		return tidings.Actor{}, tidings.Errorf(tidings.ErrUnauthenticated, "the token is not valid: it was revoked or never existed")
	}
	if t.Expired(time.Now()) {
		return tidings.Actor{}, expired(t.Info)
	}
	return tidings.Actor{Kind: tidings.Token, Name: id, Scopes: slices.Clone(t.Scopes)}, nil
}

// Stats are figures of a policy at one moment.
type Stats struct {
	Tokens    int    // in the store, expired ones included
	Malformed uint64 // entries of the store that were passed over since opening
}

// Stats returns figures for /status and /metrics.
func (p *Policy) Stats() Stats {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return Stats{Tokens: len(p.tokens), Malformed: p.malformed}
}

// scopesOf returns the scopes that the actor's token has now.
func (p *Policy) scopesOf(a tidings.Actor) ([]tidings.Scope, error) {
	if a.Name == adminID && p.admin != (digest{}) {
		return adminScopes, nil
	}
	p.mu.RLock()
	t, ok := p.tokens[a.Name]
	p.mu.RUnlock()
	if !ok {
		return nil, tidings.Errorf(tidings.ErrUnauthenticated, "the token %s was revoked or never existed", shorten(a.Name))
	}
	if t.Expired(time.Now()) {
		return nil, expired(t.Info)
	}
	return t.Scopes, nil
}

func expired(i Info) error {
	return tidings.Errorf(tidings.ErrUnauthenticated, "the token %s expired at %s", i.ID, i.Expires.UTC().Format(time.RFC3339))
}

// unavailable is an error of the store, which keeps its kind if it has one.
func unavailable(what string, err error) error {
	if kind := tidings.KindOf(err); kind != 0 {
		return tidings.Errorf(kind, "access: %s: %w", what, err)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return tidings.Errorf(tidings.ErrUnavailable, "access: %s: %w", what, err)
}

// entry takes in an entry of the store, or its removal if value is nil.
func (p *Policy) entry(id string, value []byte) {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.closed {
		return
	}
	var next token
	if value != nil {
		var err error
		if next, err = decodeRecord(id, value); err != nil {
			// An entry that cannot be read is as good as none: no token comes to life by accident.
			p.noteMalformed(id, err)
			value = nil
		}
	}
	p.mu.Lock()
	was, had := p.tokens[id]
	if value == nil {
		delete(p.tokens, id)
	} else {
		next.expired = next.Expired(time.Now())
		p.tokens[id] = next
	}
	p.mu.Unlock()
	if !p.opened {
		return
	}
	p.schedule()
	if had && (value == nil || was.hash != next.hash || !was.Expires.Equal(next.Expires) || !sameScopes(was.Scopes, next.Scopes)) {
		p.tell()
	}
}

func sameScopes(a, b []tidings.Scope) bool {
	return slices.EqualFunc(a, b, func(a, b tidings.Scope) bool { return a.String() == b.String() })
}

// tell calls the callbacks. The caller holds changing.
func (p *Policy) tell() {
	for _, f := range p.watchers {
		f()
	}
}

// schedule sets the timer for the token that expires next. The caller holds changing.
func (p *Policy) schedule() {
	if p.expiry != nil {
		p.expiry.Stop()
	}
	var next time.Time
	p.mu.RLock()
	for _, t := range p.tokens {
		if !t.expired && !t.Expires.IsZero() && (next.IsZero() || t.Expires.Before(next)) {
			next = t.Expires
		}
	}
	p.mu.RUnlock()
	if !next.IsZero() {
		p.expiry = time.AfterFunc(time.Until(next), p.expire)
	}
}

// expire tells the callbacks of the tokens whose time has come. Close waits for it through changing.
func (p *Policy) expire() {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.closed {
		return
	}
	now, some := time.Now(), false
	p.mu.Lock()
	for id, t := range p.tokens {
		if !t.expired && t.Expired(now) {
			t.expired, some = true, true
			p.tokens[id] = t
		}
	}
	p.mu.Unlock()
	p.schedule()
	if some {
		p.tell()
	}
}

func (p *Policy) noteMalformed(id string, err error) {
	p.mu.Lock()
	p.malformed++
	n := p.malformed
	p.mu.Unlock()
	if p.logLimit.Allow() {
		p.log.Warn("access: passed over an entry of the token store", "reason", "malformed", "id", shorten(id), "err", err, "total", n)
	}
}
