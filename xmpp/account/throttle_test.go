package account

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidings/xmpp/sasl"
)

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	remote   = netip.MustParseAddr("192.0.2.1")
)

// try makes an attempt and returns how long it had to wait.
func try(t *testing.T, a *Accounts, name string, from netip.Addr, ok bool) time.Duration {
	t.Helper()
	began := time.Now()
	done, err := a.Attempt(t.Context(), name, from)
	if err != nil {
		t.Fatal(err)
	}
	waited := time.Since(began)
	done(ok)
	return waited
}

// Ten wrong passwords take half a minute, whether there is an account or not.
func TestTenWrongPasswords(t *testing.T) {
	want := []time.Duration{0, 0, 0, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second}
	for _, name := range []string{"alice", "nobody", "no body"} {
		for _, from := range []netip.Addr{loopback, remote, {}} {
			synctest.Test(t, func(t *testing.T) {
				a := open(t, newStore())
				if err := a.Add(t.Context(), "alice", "pencil"); err != nil {
					t.Fatal(err)
				}
				for i, w := range want {
					if got := try(t, a, name, from, false); got != w {
						t.Errorf("%s from %s: attempt %d waits for %s, want %s", name, from, i+1, got, w)
					}
				}
				if st := a.Stats(); st.Failed != 10 || st.Delayed != 7 || st.Refused != 0 {
					t.Errorf("%+v", st)
				}
				// The right one ends it.
				try(t, a, name, from, true)
				if got := try(t, a, name, from, false); got != 0 {
					t.Errorf("after the right password: %s", got)
				}
			})
		}
	}
}

// A minute without an attempt is worth one failure.
func TestFailuresAreForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, newStore())
		for range 6 {
			try(t, a, "x", loopback, false)
		}
		time.Sleep(2*time.Minute + time.Second)
		if got := try(t, a, "x", loopback, false); got != 0 {
			t.Errorf("the delay is long over, but it waits for %s", got)
		}
		if got := try(t, a, "x", loopback, false); got != time.Second {
			t.Errorf("two of six failures are forgiven and one came: waits for %s", got)
		}
		time.Sleep(time.Hour)
		for range 3 {
			if got := try(t, a, "x", loopback, false); got != 0 {
				t.Errorf("after an hour: %s", got)
			}
		}
	})
}

// Attempts at the same time gain nothing: few are looked at, and the rest is told to come later.
func TestAttemptsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, newStore())
		began := time.Now()
		var mu sync.Mutex
		var looked []time.Duration
		refused := 0
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				done, err := a.Attempt(t.Context(), "x", loopback)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					if sasl.ConditionOf(err) != sasl.TemporaryAuthFailure {
						t.Error(err)
					}
					refused++
					return
				}
				looked = append(looked, time.Since(began))
				done(false)
			})
		}
		all.Wait()
		if n := len(looked); n < freeByName || n > 12 || refused != 100-n || uint64(refused) != a.Stats().Refused {
			t.Errorf("%d were looked at, at %v; %d refused, %+v", n, looked, refused, a.Stats())
		}
		if d := time.Since(began); d > maxWait {
			t.Errorf("the last one waited for %s", d)
		}
	})
}

// Many sessions of one account, such as after a restart, do not wait for each other.
func TestManyRightPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, newStore())
		began := time.Now()
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				done, err := a.Attempt(t.Context(), "x", remote)
				if err != nil {
					t.Error(err)
					return
				}
				done(true)
			})
		}
		all.Wait()
		if d := time.Since(began); d != 0 || a.Stats().Delayed != 0 {
			t.Errorf("took %s, %+v", d, a.Stats())
		}
	})
}

// Who fails with somebody's name locks out neither that person, nor others at other addresses.
func TestNobodyIsLockedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, newStore())
		home := netip.MustParseAddr("2001:db8:1::1")
		try(t, a, "alice", home, true)
		for range 10 {
			try(t, a, "alice", remote, false)
		}
		// Another address of the same subscriber.
		if got := try(t, a, "alice", netip.MustParseAddr("2001:db8:1::2"), true); got != 0 {
			t.Errorf("at home: %s", got)
		}
		if got := try(t, a, "alice", remote, false); got != 10*time.Second {
			t.Errorf("elsewhere: %s", got)
		}
		if got := try(t, a, "bob", remote, true); got != 0 {
			t.Errorf("another account: %s", got)
		}
		// At home wrong passwords count as everywhere.
		for i, want := range []time.Duration{0, 0, 0, 250 * time.Millisecond} {
			if got := try(t, a, "alice", home, false); got != want {
				t.Errorf("at home, attempt %d: %s, want %s", i+1, got, want)
			}
		}
	})
}

// An address that tries many names is slowed down; loopback is not.
func TestManyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, newStore())
		for i := range freeByAddress {
			if got := try(t, a, "user"+strconv.Itoa(i), remote, false); got != 0 {
				t.Fatalf("attempt %d: %s", i+1, got)
			}
		}
		if got := try(t, a, "other", remote, false); got != 250*time.Millisecond {
			t.Errorf("%s", got)
		}
		if got := try(t, a, "other", netip.MustParseAddr("::ffff:192.0.2.1"), true); got != 500*time.Millisecond {
			t.Errorf("the same address written as IPv6: %s", got)
		}
		if got := try(t, a, "another", netip.MustParseAddr("192.0.2.2"), false); got != 0 {
			t.Errorf("another address: %s", got)
		}
		for i := range 3 * freeByAddress {
			if got := try(t, a, "user"+strconv.Itoa(i), netip.MustParseAddr("::1"), false); got != 0 {
				t.Fatalf("loopback, attempt %d: %s", i+1, got)
			}
		}
	})
}

// A client that goes away while it waits leaves its place.
func TestAttemptIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, newStore())
		for range 7 {
			try(t, a, "x", loopback, false)
		}
		for range 2 * atOnce {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := a.Attempt(ctx, "x", loopback); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			cancel()
		}
		time.Sleep(time.Hour)
		if got := try(t, a, "x", loopback, true); got != 0 || a.Stats().Refused != 0 {
			t.Errorf("%s, %+v", got, a.Stats())
		}
	})
}

// Memory is bounded, however many names are tried.
func TestThrottleForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, newStore())
		for i := range maxEntries + 1000 {
			try(t, a, strconv.Itoa(i), loopback, i%2 == 0)
		}
		th := &a.throttle
		if len(th.entries) > maxEntries || th.order.Len() != len(th.entries) {
			t.Errorf("%d entries, %d in order", len(th.entries), th.order.Len())
		}
	})
}
