//go:build interop && linux

package interop_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The reader of TestResumeAtRandomPoints passes a server that resumes well, and fails each way of resuming badly.
func TestCutReader(t *testing.T) {
	const total = 3000
	for _, tc := range []struct {
		name   string
		resume func(last int) int // the first event to serve after last
		want   string             // in the error
	}{
		{"exact", func(last int) int { return last + 1 }, ""},
		{"repeats the last event", func(last int) int { return max(last, 1) }, "came message"},
		{"loses one", func(last int) int {
			if last == 0 {
				return 1
			}
			return last + 2
		}, "came message"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				last := 0
				fmt.Sscan(r.Header.Get("Last-Event-ID"), &last)
				fmt.Fprint(w, ":ok\n\n")
				for i := tc.resume(last); i <= total; i++ {
					if _, err := fmt.Fprintf(w, "id: %d\ndata: {\"id\":%d,\"pad\":%q}\n\n", i, i, strings.Repeat("x", i%400)); err != nil {
						return
					}
				}
			}))
			defer fake.Close()
			steady := newProgress()
			steady.set(total)
			r := &cutReader{url: fake.URL, number: number, total: total, random: rand.New(rand.NewPCG(1, 2)), steady: steady}
			begun := 0
			err := r.run(t.Context(), func() { begun++ })
			if tc.want == "" && (err != nil || r.seen != total || r.cuts < total/90/2) || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("saw %d events with %d cuts: %v", r.seen, r.cuts, err)
			}
			if begun != 1 {
				t.Errorf("it said %d times that it has begun", begun)
			}
		})
	}
}
