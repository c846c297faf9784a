package main

import (
	"context"
	"errors"
	"time"

	"tidings"
)

// append is the journal's Append as the sources are given it. It remembers whether the journal takes events, which
// /readyz tells, and logs when that changes.
func (s *server) append(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	done, err := s.journal.Append(ctx, events...)
	switch {
	case err == nil:
		if s.keys != nil {
			s.keys.add(time.Now(), events)
		}
		if s.refusing.Swap(nil) != nil {
			s.log.Info("the journal takes events again")
		}
	case errors.Is(err, tidings.ErrUnavailable) && ctx.Err() == nil:
		if s.refusing.Swap(&err) == nil {
			s.log.Error("the journal takes no events; if the disk was full, make room and restart", "err", err)
		}
	}
	return done, err
}
