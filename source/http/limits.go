package httpsource

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tidings"
	"tidings/internal/problem"
)

// limits has a limiter for each publisher that has published lately.
type limits struct {
	mu sync.Mutex
	by map[string]*rate.Limiter
}

// sweepAt is how many limiters there are before those that are full again, and so as good as new, are dropped.
const sweepAt = 1024

// take counts n events of the publisher against perSecond; 0 is no limit. More than a whole burst counts as one.
func (l *limits) take(perSecond float64, publisher string, n int) error {
	if perSecond <= 0 || n <= 0 {
		return nil
	}
	burst := int(max(1, math.Ceil(perSecond)))
	l.mu.Lock()
	defer l.mu.Unlock()
	lim := l.by[publisher]
	if lim == nil {
		if l.by == nil {
			l.by = map[string]*rate.Limiter{}
		}
		if len(l.by) >= sweepAt {
			for k, v := range l.by {
				if v.Tokens() >= float64(burst) {
					delete(l.by, k)
				}
			}
		}
		lim = rate.NewLimiter(rate.Limit(perSecond), burst)
		l.by[publisher] = lim
	}
	now := time.Now()
	res := lim.ReserveN(now, min(n, burst))
	if wait := res.DelayFrom(now); wait > 0 {
		res.CancelAt(now)
		return problem.RetryAfter(tidings.Errorf(tidings.ErrRateLimited, "more than %v events in a second: wait and send it again", perSecond), wait)
	}
	return nil
}
