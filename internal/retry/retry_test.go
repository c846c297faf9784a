package retry

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestAfter(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "x": 0, "1.5": 0, "99999": time.Hour, "99999999999999999999": 0,
		"Sat, 31 Jan 2026 12:00:07 GMT": 7 * time.Second, "Sat, 31 Jan 2026 11:00:00 GMT": 0, "Sat, 31 Jan 2099 11:00:00 GMT": time.Hour,
	} {
		if got := After(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	for n := range 70 {
		most := min(time.Minute, time.Second<<min(n, 30))
		for range 20 {
			if d := Backoff(time.Second, time.Minute, n); d < time.Second || d >= time.Second+most {
				t.Errorf("attempt %d waits %v", n, d)
			}
		}
	}
	if d := Backoff(0, 0, 3); d != 0 {
		t.Errorf("nothing is %v", d)
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := Sleep(t.Context(), time.Minute); err != nil || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		start = time.Now()
		if err := Sleep(ctx, time.Minute); err != why || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
