// Package retry says how long to wait before the next attempt, and waits.
package retry

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// MaxAfter bounds what After believes.
const MaxAfter = time.Hour

// After reads Retry-After (RFC 9110 section 10.2.3) as a duration from now, at most MaxAfter; 0 if there is none.
func After(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	d := time.Duration(0)
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		d = time.Duration(s) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), MaxAfter)
}

// Backoff returns how long to wait after the n-th failure in a row, counted from 0: base, and full jitter on top of it, a
// random part of min(most, base·2ⁿ).
func Backoff(base, most time.Duration, n int) time.Duration {
	span := most
	if n < 30 {
		span = min(most, base<<n)
	}
	return base + rand.N(max(span, 1))
}

// Sleep waits; it returns early, with the cause, when ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
