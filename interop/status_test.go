//go:build interop && linux

package interop_test

import (
	"encoding/json"
	"maps"
	"testing"
	"time"
)

// statusReport is what the tests read of /status.
type statusReport struct {
	Edge struct {
		Connections    int
		Closed, Unused map[string]int
	}
	IRC      struct{ Clients int }
	SocketIO struct {
		Sessions int
		Ended    map[string]int
	} `json:"socket_io"`
	RCStream struct {
		Sessions int
		Ended    map[string]int
	}
	UDP struct {
		Received, Appended, Duplicates, Queued int
		KernelDrops                            int `json:"kernel_drops"`
		Dropped                                map[string]int
	}
}

func (s *server) status(t *testing.T) (st statusReport) {
	t.Helper()
	resp, err := visitor.Get(s.url + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&st); err != nil {
		t.Fatal(err)
	}
	return st
}

// settles waits until the server's figures are as they should be.
func (s *server) settles(t *testing.T, patience time.Duration, what string, is func(statusReport) bool) statusReport {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		st := s.status(t)
		if is(st) {
			return st
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not after %v: %+v", what, patience, st)
		}
	}
}

// reasons are all that may be counted for a connection that ends.
func (st *statusReport) reasons() map[string]int {
	all := map[string]int{}
	for _, m := range []map[string]int{st.Edge.Closed, st.Edge.Unused, st.SocketIO.Ended, st.RCStream.Ended} {
		maps.Copy(all, m)
	}
	return all
}
