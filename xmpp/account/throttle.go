package account

import (
	"container/list"
	"context"
	"net/netip"
	"sync"
	"time"

	"tidings/xmpp/sasl"
)

// How attempts to log in are slowed down. Three wrong passwords are free. After that the next attempt waits, for a quarter of
// a second at first and for twice as long each time, so that ten take half a minute; a minute without an attempt is worth one
// failure. It counts by name, whether it has an account or not, and separately by the peer's address, other than loopback,
// where many people may be behind one address and therefore more is free.
//
// Whoever fails with somebody's name must not lock that person out: an address from which the account has been logged in with
// before is counted by itself, and not slowed down by what others do.
const (
	freeByName    = 3
	freeByAddress = 20
	firstDelay    = 250 * time.Millisecond
	maxDelay      = 10 * time.Second
	maxFailures   = 16 // that are remembered of one name or address
	forgiveAfter  = time.Minute
	maxWait       = 20 * time.Second // an attempt that would wait for longer is refused
	atOnce        = 3                // attempts for one name that are looked at at the same time
	maxEntries    = 20_000           // names and addresses; the one longest unused is forgotten
)

// throttle is ready for use as its zero value.
type throttle struct {
	mu      sync.Mutex
	entries map[any]*list.Element // of *tally, by nameKey, netip.Prefix or knownKey
	order   list.List             // the longest unused first

	failed, delayed, refused uint64
}

type (
	nameKey  string
	knownKey struct {
		name string
		from netip.Prefix
	}
)

// tally is what is remembered of a name or an address; all but slots is guarded by throttle.mu.
type tally struct {
	key      any
	failures int
	last     time.Time     // of the last failure, or up to which failures have been forgiven
	next     time.Time     // when the next attempt may be looked at
	slots    chan struct{} // the attempts that are being looked at; nil for an address
}

// Attempt implements sasl.Authenticator.
func (a *Accounts) Attempt(ctx context.Context, username string, from netip.Addr) (done func(ok bool), err error) {
	name, err := Prepare(username)
	if err != nil {
		name = username[:min(len(username), MaxName)]
	}
	return a.throttle.attempt(ctx, name, from)
}

func (t *throttle) attempt(ctx context.Context, name string, from netip.Addr) (func(bool), error) {
	prefix := prefixOf(from)
	t.mu.Lock()
	by := t.find(knownKey{name, prefix})
	if by == nil {
		by = t.make(nameKey(name), atOnce)
	}
	t.mu.Unlock()

	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, errTooMany)
	defer cancel()
	select {
	case by.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, t.gaveUp(ctx)
	}
	if err := t.wait(ctx, by, prefix); err != nil {
		<-by.slots
		return nil, err
	}
	return func(ok bool) {
		t.outcome(name, prefix, by, ok)
		<-by.slots
	}, nil
}

var errTooMany = &sasl.Error{Condition: sasl.TemporaryAuthFailure, Text: "too many attempts have failed; try again later"}

func (t *throttle) gaveUp(ctx context.Context) error {
	err := context.Cause(ctx)
	if err == errTooMany {
		t.mu.Lock()
		t.refused++
		t.mu.Unlock()
	}
	return err
}

// wait waits until the attempt may be looked at.
func (t *throttle) wait(ctx context.Context, by *tally, prefix netip.Prefix) error {
	now := time.Now()
	t.mu.Lock()
	at := by.after(now, freeByName)
	if e := t.find(prefix); e != nil {
		if other := e.after(now, freeByAddress); other.After(at) {
			at = other
		}
	}
	delay := at.Sub(now)
	if delay > maxWait {
		t.refused++
	} else if delay > 0 {
		t.delayed++
	}
	var reserved time.Duration
	if by.failures >= freeByName && delay <= maxWait {
		reserved = delayOf(by.failures, freeByName) // for one that comes before the outcome of this one is known
		by.next = at.Add(reserved)
	}
	t.mu.Unlock()
	if delay > maxWait {
		return errTooMany
	}
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		t.mu.Lock()
		by.next = by.next.Add(-reserved)
		t.mu.Unlock()
		return t.gaveUp(ctx)
	}
}

func (t *throttle) outcome(name string, prefix netip.Prefix, by *tally, ok bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if ok {
		by.failures, by.next = 0, time.Time{}
		t.make(knownKey{name, prefix}, atOnce)
		return
	}
	t.failed++
	by.fail(now, freeByName)
	if prefix.IsValid() && !prefix.Addr().IsLoopback() {
		t.make(prefix, 0).fail(now, freeByAddress)
	}
}

// after returns when the next attempt may be looked at, and forgives what is long ago.
func (e *tally) after(now time.Time, free int) time.Time {
	if n := int(now.Sub(e.last) / forgiveAfter); n > 0 {
		e.failures = max(0, e.failures-n)
		e.last = e.last.Add(time.Duration(n) * forgiveAfter)
	}
	if e.failures < free || e.next.Before(now) {
		return now
	}
	return e.next
}

func (e *tally) fail(now time.Time, free int) {
	e.failures = min(e.failures+1, maxFailures+free)
	e.last = now
	if next := now.Add(delayOf(e.failures, free)); next.After(e.next) {
		e.next = next
	}
}

// delayOf returns how long to wait after so many failures.
func delayOf(failures, free int) time.Duration {
	if failures < free {
		return 0
	}
	return min(firstDelay<<min(failures-free, 16), maxDelay)
}

// find returns what is remembered under the key, or nil. The caller holds mu, as for make.
func (t *throttle) find(key any) *tally {
	el := t.entries[key]
	if el == nil {
		return nil
	}
	t.order.MoveToBack(el)
	return el.Value.(*tally)
}

// make is find for a key that is to be remembered. An attempt that has a tally which is forgotten here goes on with it.
func (t *throttle) make(key any, slots int) *tally {
	if e := t.find(key); e != nil {
		return e
	}
	if t.entries == nil {
		t.entries = map[any]*list.Element{}
	}
	if len(t.entries) >= maxEntries {
		oldest := t.order.Front()
		delete(t.entries, t.order.Remove(oldest).(*tally).key)
	}
	e := &tally{key: key}
	if slots > 0 {
		e.slots = make(chan struct{}, slots)
	}
	t.entries[key] = t.order.PushBack(e)
	return e
}

func (t *throttle) figures(st *Stats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	st.Failed, st.Delayed, st.Refused = t.failed, t.delayed, t.refused
}

// prefixOf returns what an address is counted by: itself, or what one subscriber usually has of IPv6. It is not valid if the
// address is not known.
func prefixOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() && !a.IsLoopback() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
