package pubsub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"tidings/journal"
	"tidings/pubsub"
)

func in(d time.Duration) string { return "expire=" + time.Now().Add(d).UTC().Format(time.RFC3339) }

// Section 12.18: a lease ends by itself, to everybody's knowledge, unless it is renewed.
func TestLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.node("n", "access_model=authorize")
		w.affiliate("n", "yorick@denmark.lit=member", "horatio@denmark.lit=member")
		w.subscribe(yorick, "n", in(time.Hour))
		w.subscribe(horatio, "n", in(2*time.Hour))
		w.subscribe(horatio, "/rc/*", in(3*time.Hour))
		w.subscribe(bernardo, "/rc/*")
		w.heard.take()
		time.Sleep(59 * time.Minute)
		w.must(w.SetOptions(t.Context(), yorick, "n", bare(yorick), "", values(in(4*time.Hour))))
		w.wantHeard("renewed", "yorick@denmark.lit at n: subscribed, was subscribed")
		time.Sleep(time.Hour)
		synctest.Wait()
		w.wantHeard("none has ended")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		w.wantHeard("one has ended", "horatio@denmark.lit at n: none, was subscribed")
		time.Sleep(time.Hour)
		synctest.Wait()
		w.wantHeard("another", "horatio@denmark.lit at /rc/*: none, was subscribed")
		if subs, _ := w.Subscriptions(horatio, ""); len(subs) != 0 {
			t.Errorf("subscriptions %v", subs)
		}
		// It is over to the second, whether or not it has been removed yet.
		s := w.subscribe(stranger, "/rc/*", in(time.Second))
		if s.Options.Expires.IsZero() || fieldOf(s.Options.Fields(), "expire") == "" {
			t.Errorf("a lease without an end: %+v", s.Options)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if st := w.Stats(); st.Subscriptions != 2 {
			t.Errorf("%d subscriptions are left", st.Subscriptions)
		}
	})
}

// Section 12.18: a lease that is too long is made as long as it may be.
func TestLongestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWorld(t, journal.NewMemory(journal.Options{}), pubsub.Options{MaxLease: time.Hour})
		defer w.close()
		for _, d := range []time.Duration{time.Hour, time.Hour + time.Second, 10_000 * time.Hour} {
			s := w.subscribe(yorick, "/rc/*", in(d))
			if want := time.Now().Add(time.Hour).Truncate(time.Second); !s.Options.Expires.Equal(want) {
				t.Errorf("a lease of %v ends at %v, want %v", d, s.Options.Expires, want)
			}
		}
	})
}

// Who subscribes again with another lease renews it.
func TestLeaseRenewed(t *testing.T) {
	w := newWorld(t)
	first := w.subscribe(yorick, "/rc/*", in(time.Hour))
	again := w.subscribe(yorick, "/rc/*", in(2*time.Hour))
	other := w.subscribe(yorick, "/rc/*", in(2*time.Hour), "include_body=1")
	subs, err := w.Subscriptions(yorick, "")
	if err != nil || len(subs) != 2 || again.SubID != first.SubID || other.SubID == first.SubID || !again.Options.Expires.After(first.Options.Expires) {
		t.Errorf("%+v, %v", subs, err)
	}
	for _, s := range subs {
		if s.SubID == first.SubID && !s.Options.Expires.Equal(again.Options.Expires) {
			t.Errorf("it ends at %v, not %v", s.Options.Expires, again.Options.Expires)
		}
	}
}

// A service that was closed over the end of a lease removes it when it opens.
func TestLeaseWhileClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := journal.NewMemory(journal.Options{})
		a := openWorld(t, j, pubsub.Options{})
		a.subscribe(yorick, "/rc/*", in(time.Hour))
		a.Service.Close()
		time.Sleep(2 * time.Hour)
		b := openWorld(t, j, pubsub.Options{})
		if subs, _ := b.Subscriptions(yorick, ""); len(subs) != 0 {
			t.Errorf("subscriptions %v", subs)
		}
		synctest.Wait()
		if st := b.Stats(); st.Subscriptions != 0 {
			t.Errorf("%d subscriptions are left", st.Subscriptions)
		}
		b.close()
		a.close()
	})
}
