package pubsub

import (
	"testing"
	"testing/synctest"
	"time"
)

// That an account or its server is not there has to be said on each of eight days, and the account may say otherwise.
func TestReturnedForDays(t *testing.T) {
	const day = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		s := &Server{accounts: map[string]*account{}}
		if s.countReturned("nobody@example.org") {
			t.Error("an account that is pushed nothing")
		}
		a := s.accountOf("romeo@example.org")
		days := func(n int) (over bool) {
			for range n {
				for range 3 {
					over = s.countReturned(a.bare) || over
				}
				time.Sleep(day)
			}
			return over
		}
		if days(maxReturned) {
			t.Error("too early")
		}
		time.Sleep(day) // on which nothing came back
		if days(maxReturned) {
			t.Error("after a day without")
		}
		a.returned = run{} // it has written
		if days(maxReturned) {
			t.Error("after a word of its own")
		}
		if !days(1) {
			t.Error("never")
		}
	})
}
