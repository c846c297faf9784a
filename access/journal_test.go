package access

import (
	"testing"
	"time"

	"tidings"
	"tidings/journal"
)

// The tokens are kept in a journal of either kind; policies that share it see each other's changes, and a revocation has
// taken effect when Revoke returns.
func TestOnJournals(t *testing.T) {
	for name, openJournal := range map[string]func() (journal.Journal, error){
		"memory": func() (journal.Journal, error) { return journal.NewMemory(journal.Options{}), nil },
		"jetstream": func() (journal.Journal, error) {
			return journal.OpenJetStream(t.Context(), journal.Options{Dir: t.TempDir()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			j, err := openJournal()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := j.Close(); err != nil {
					t.Error(err)
				}
			})
			bucket := func() Store {
				b, err := j.Bucket(t.Context(), "tokens")
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			here, there := open(t, bucket(), Options{}), open(t, bucket(), Options{})
			told := make(chan struct{}, 10)
			there.OnChange(func() { told <- struct{}{} })
			calls := 0
			here.OnChange(func() { calls++ })

			a := actor(t, here, create(t, here, time.Hour, "publish:/a"))
			if err := here.May(a, tidings.PublishAction, "/a"); err != nil {
				t.Error(err)
			}
			if err := here.Revoke(t.Context(), a.Name); err != nil {
				t.Fatal(err)
			}
			if calls != 1 || here.May(a, tidings.PublishAction, "/a") == nil {
				t.Errorf("%d calls when Revoke returned, May %v", calls, here.May(a, tidings.PublishAction, "/a"))
			}
			select {
			case <-told:
			case <-time.After(10 * time.Second):
				t.Fatal("the other policy was not told")
			}
			if err := there.May(a, tidings.PublishAction, "/a"); tidings.KindOf(err) != tidings.ErrUnauthenticated {
				t.Errorf("the other policy: %v", err)
			}
			// A policy opened afterwards finds what is left.
			kept := create(t, here, 0, "publish:/b")
			late := open(t, bucket(), Options{})
			if err := late.May(actor(t, late, kept), tidings.PublishAction, "/b"); err != nil {
				t.Error(err)
			}
			if n := late.Stats(); n.Tokens != 1 || n.Malformed != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}
