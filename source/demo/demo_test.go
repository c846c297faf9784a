package demo

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"tidings"
	"tidings/recentchange"
)

// collect runs the demo for a while of fake time and returns what it has appended.
func collect(t *testing.T, rate float64, d time.Duration) []tidings.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var all []tidings.Event
	err := Run(ctx, rate, func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
		if len(events) == 0 || len(events) > batch {
			t.Errorf("%d events at once", len(events))
		}
		for i := range events {
			if err := events[i].Validate(); err != nil {
				t.Error(err)
			}
		}
		all = append(all, events...)
		return make([]tidings.Appended, len(events)), nil
	})
	if err != nil {
		t.Error(err)
	}
	return all
}

func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(365 * 24 * time.Hour)
		all := collect(t, 20, 1000*time.Second)
		if n := len(all); n < 19_000 || n > 21_000 {
			t.Errorf("%d changes", n)
		}
		type pageKey struct{ wiki, title string }
		types, wikis, logs, scripts := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
		revisions, lengths := map[pageKey]int64{}, map[pageKey]int64{}
		ids, keys := map[string]int64{}, map[string]bool{}
		var bots, edits, minor, anonymous int
		for _, e := range all {
			if ct, ok := recentchange.Detect(e.Payload); !ok || ct != e.ContentType || ct != recentchange.TypeJSON || e.Publisher != Publisher {
				t.Fatalf("%s by %s: %s", e.ContentType, e.Publisher, e.Payload)
			}
			rc, err := recentchange.Decode(e.ContentType, e.Payload)
			if err != nil {
				t.Fatalf("%v\n%s", err, e.Payload)
			}
			if again := rc.AppendJSON(nil); !bytes.Equal(again, e.Payload) {
				t.Fatalf("it is not as MediaWiki writes it\n got %s\nwant %s", e.Payload, again)
			}
			if bytes.ContainsAny(e.Payload, "$") && !strings.Contains(string(e.Payload), "$schema") {
				t.Errorf("a placeholder is left: %s", e.Payload)
			}
			if topic, _ := rc.Topic(); topic != e.Topic || e.Key != rc.Key() || keys[e.Key] || e.Key == "" || !e.Time.Equal(rc.Time()) {
				t.Errorf("topic %s, key %s, time %v of %s", e.Topic, e.Key, e.Time, e.Payload)
			}
			keys[e.Key] = true
			wiki := rc.Wiki.Value()
			types[rc.Type]++
			wikis[wiki]++
			for _, r := range rc.Title.Value() {
				for name, table := range map[string]*unicode.RangeTable{"Cyrillic": unicode.Cyrillic, "Han": unicode.Han, "Arabic": unicode.Arabic, "Devanagari": unicode.Devanagari, "Latin": unicode.Latin} {
					if unicode.Is(table, r) {
						scripts[name]++
					}
				}
			}
			if id, ok := rc.ID.Get(); ok {
				if id <= ids[wiki] {
					t.Fatalf("%s: %d comes after %d", wiki, id, ids[wiki])
				}
				ids[wiki] = id
			} else if rc.LogType.Value() != "patrol" || !rc.ID.IsNull() {
				t.Errorf("no id: %s", e.Payload)
			}
			key := pageKey{wiki, rc.Title.Value()}
			switch rc.Type {
			case recentchange.New:
				if rc.Revision.Value().Old.IsSet() || !rc.Revision.Value().Old.IsNull() {
					t.Errorf("a new page has a history: %s", e.Payload)
				}
			case recentchange.Edit:
				edits++
				if rc.Bot.Value() {
					bots++
				}
				if rc.Minor.Value() {
					minor++
				}
				if strings.Count(rc.User.Value(), ".") == 3 || strings.HasPrefix(rc.User.Value(), "2001:DB8:") {
					anonymous++
				}
				rev, length := rc.Revision.Value(), rc.Length.Value()
				if last, ok := revisions[key]; ok && (rev.Old.Value() != last || length.Old.Value() != lengths[key]) {
					t.Errorf("%v: revision %d of %d bytes comes after %d of %d", key, rev.Old.Value(), length.Old.Value(), last, lengths[key])
				}
				if rev.New.Value() <= rev.Old.Value() || length.New.Value() <= 0 {
					t.Errorf("revisions and lengths of %s", e.Payload)
				}
			case recentchange.Log:
				logs[rc.LogType.Value()]++
				if rc.LogType.Value() == "delete" || rc.LogType.Value() == "upload" {
					delete(revisions, key)
				}
			}
			if rc.Type == recentchange.Edit || rc.Type == recentchange.New {
				revisions[key], lengths[key] = rc.Revision.Value().New.Value(), rc.Length.Value().New.Value()
			}
			if rc.LogType.Value() == "move" {
				delete(revisions, key)
			}
		}
		n := len(all)
		between := func(what string, got, low, high int) {
			if p := 100 * got / n; p < low || p > high {
				t.Errorf("%s: %d of %d, which is not %d to %d %%", what, got, n, low, high)
			}
		}
		between("edit", types["edit"], 65, 78)
		between("categorize", types["categorize"], 12, 22)
		between("log", types["log"], 3, 8)
		between("new", types["new"], 3, 8)
		between("bots", bots, 15, 35)
		between("minor", minor, 15, 35)
		between("anonymous", anonymous, 4, 15)
		if len(types) != 4 || len(wikis) != len(sites) || len(logs) < 7 || len(scripts) != 5 {
			t.Errorf("types %v, wikis %v, logs %v, scripts %v", types, wikis, logs, scripts)
		}

		// The next run goes on above.
		time.Sleep(time.Millisecond)
		for _, e := range collect(t, 20, 100*time.Second) {
			rc, err := recentchange.Decode(e.ContentType, e.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if id, ok := rc.ID.Get(); ok && id <= ids[rc.Wiki.Value()] || keys[e.Key] {
				t.Fatalf("%s again, after %d", e.Key, ids[rc.Wiki.Value()])
			}
		}
	})
}

// TestGaps asserts that the times are those of independent events: the gaps' mean and deviation are the same.
func TestGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gaps []float64
		last := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 4000*time.Second)
		defer cancel()
		if err := Run(ctx, 2, func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
			gaps = append(gaps, time.Since(last).Seconds())
			last = time.Now()
			return make([]tidings.Appended, len(events)), nil
		}); err != nil {
			t.Error(err)
		}
		var sum, squares float64
		for _, g := range gaps {
			sum += g
			squares += g * g
		}
		n := float64(len(gaps))
		mean := sum / n
		deviation := math.Sqrt(squares/n - mean*mean)
		if math.Abs(mean-0.5) > 0.05 || math.Abs(deviation-0.5) > 0.08 {
			t.Errorf("%v gaps of %.3f s ± %.3f", n, mean, deviation)
		}
	})
}

// TestFailure asserts that a batch which could not be appended is the next one appended, and that nobody makes up for the
// time that the failure took.
func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed string
		var n int
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Second)
		defer cancel()
		err := Run(ctx, 10, func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
			if d := time.Since(start); d > 50*time.Second && d < 150*time.Second {
				failed = events[0].Key
				return nil, tidings.Errorf(tidings.ErrUnavailable, "the disk is full")
			}
			if failed != "" && failed != events[0].Key {
				t.Errorf("%s instead of %s", events[0].Key, failed)
			}
			failed = ""
			n += len(events)
			return make([]tidings.Appended, len(events)), nil
		})
		if err != nil || n < 800 || n > 1200 {
			t.Errorf("%d changes, %v", n, err)
		}
	})
}

func TestErrors(t *testing.T) {
	for _, rate := range []float64{0, -1, MaxRate + 1, math.NaN(), math.Inf(1)} {
		if err := Run(t.Context(), rate, nil); !errors.Is(err, tidings.ErrInvalid) {
			t.Errorf("rate %v: %v", rate, err)
		}
	}
	refusal := tidings.Errorf(tidings.ErrInvalid, "no")
	if err := Run(t.Context(), 1000, func(context.Context, ...tidings.Event) ([]tidings.Appended, error) { return nil, refusal }); !errors.Is(err, refusal) {
		t.Errorf("refused: %v", err)
	}
}

// TestHighRate asserts that a rate beyond what timers can do is met by several changes at a time.
func TestHighRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var mu sync.Mutex
		n := 0
		if err := Run(ctx, 5000, func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
			mu.Lock()
			n += len(events)
			mu.Unlock()
			time.Sleep(5 * time.Millisecond)
			return make([]tidings.Appended, len(events)), nil
		}); err != nil {
			t.Error(err)
		}
		if n < 9000 || n > 11_000 {
			t.Errorf("%d changes in two seconds", n)
		}
	})
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"": `""`, `a"title":b}`: `"a\"title\":b}"`, "ż<": `"\u017c\u003C"`} {
		if got := quote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
