//go:build interop && linux

package interop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"tidings/interop/mediawiki"
)

// lastPage is the title of the page whose creation ends a session of changes: it is the last that each feed tells.
const lastPage = "The garden gate is closed"

// TestMediaWiki: Debian's MediaWiki sends each change to four servers, to each in another dialect. Each change comes out
// of each of them as an event, equal in all fields up to the losses of the dialect, and as the wiki itself lists it. The
// readers of others read along.
func TestMediaWiki(t *testing.T) {
	need(t, "MediaWiki", mediawiki.Installed())
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	began := time.Now()
	dialects := []mediawiki.Dialect{mediawiki.JSON, mediawiki.XML, mediawiki.IRC, mediawiki.RC}
	servers := map[mediawiki.Dialect]*server{}
	var feeds []mediawiki.Feed
	for _, d := range dialects {
		servers[d] = newServer(t, "")
		feeds = append(feeds, mediawiki.Feed{Dialect: d, Addr: servers[d].udp})
	}
	dir, err := os.MkdirTemp(scratch, "wiki-")
	if err != nil {
		t.Fatal(err)
	}
	wiki, err := mediawiki.Start(ctx, dir, feeds...)
	if err != nil {
		t.Fatal(err)
	}
	defer wiki.Stop()

	// Everyone who reads has begun before the first change is made.
	streams := map[mediawiki.Dialect]*stream{}
	for _, d := range dialects {
		if streams[d], err = connect(ctx, servers[d].url+"/v2/stream/recentchange", ""); err != nil {
			t.Fatal(err)
		}
		defer streams[d].close()
	}
	lines := map[mediawiki.Dialect]*ircReader{}
	for _, d := range []mediawiki.Dialect{mediawiki.JSON, mediawiki.IRC} {
		if lines[d], err = joinIRC(ctx, servers[d].irc, mediawiki.Channel); err != nil {
			t.Fatal(err)
		}
		defer lines[d].Close()
	}
	foreign := map[string]*follower{}
	for _, r := range foreignReaders {
		if err := r.missing(); err != nil {
			t.Run(r.name, func(t *testing.T) { need(t, r.name, err) })
			continue
		}
		foreign[r.name] = &follower{lines: r.start(t, servers[mediawiki.JSON].url)}
		if err := foreign[r.name].until(ctx, 0, 1); err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
	}

	old, err := wiki.RecentChanges(ctx) // of the installation
	if err != nil {
		t.Fatal(err)
	}
	script, err := wiki.NewScript(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := script.Round(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := script.Page(ctx, lastPage); err != nil {
		t.Fatal(err)
	}

	got := map[mediawiki.Dialect][]change{}
	for _, d := range dialects {
		if got[d], err = readSession(streams[d]); err != nil {
			t.Fatalf("%s, after %d changes: %v", d, len(got[d]), err)
		}
	}
	inJSON := got[mediawiki.JSON]
	t.Run("as the wiki lists them", func(t *testing.T) { compareWithWiki(t, ctx, wiki, len(old), inJSON) })
	for _, d := range dialects[1:] {
		t.Run(string(d), func(t *testing.T) { compareAll(t, d, inJSON, got[d]) })
	}
	t.Run("lines over IRC", func(t *testing.T) {
		said := map[mediawiki.Dialect][]string{}
		for d, c := range lines {
			var err error
			if said[d], err = readIRCSession(c); err != nil {
				t.Fatalf("%s, after %d lines: %v", d, len(said[d]), err)
			}
		}
		compareIRC(t, said[mediawiki.JSON], said[mediawiki.IRC])
	})
	for name, f := range foreign {
		t.Run(name, func(t *testing.T) {
			for i, c := range inJSON {
				id, ok := c["id"]
				if !ok {
					id = "undefined"
				}
				if line, err := f.line(ctx); err != nil || line != fmt.Sprintf("event %v", id) {
					t.Fatalf("change %d has the id %v, and it says %q (%v)", i, id, line, err)
				}
			}
		})
	}
	t.Run("again from the beginning", func(t *testing.T) {
		// A reader that comes later and says since when gets the same events under the same ids.
		st, err := connect(ctx, servers[mediawiki.JSON].url+"/v2/stream/recentchange?since="+began.UTC().Format(time.RFC3339), "")
		if err != nil {
			t.Fatal(err)
		}
		defer st.close()
		again, err := readSession(st)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := fmt.Sprint(inJSON), fmt.Sprint(again); a != b {
			t.Errorf("%d changes came the first time and %d, or others, the second", len(inJSON), len(again))
		}
	})
}

// readSession reads changes until the last page was made, that one included.
func readSession(st *stream) (all []change, err error) {
	for {
		e, err := st.next()
		if err != nil {
			return all, err
		}
		if e.Type != "message" {
			return all, fmt.Errorf("an event of type %s came: %s", e.Type, e.Data)
		}
		c, err := parseChange(e.Data)
		if err != nil {
			return all, err
		}
		if all = append(all, c); c["title"] == lastPage {
			return all, nil
		}
	}
}

// compareWithWiki holds the changes that came as JSON against what the wiki itself lists, its first skip rows aside.
func compareWithWiki(t *testing.T, ctx context.Context, w *mediawiki.Wiki, skip int, inJSON []change) {
	t.Helper()
	rows, err := w.RecentChanges(ctx)
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]change{}
	deleted := map[any]bool{} // the wiki forgets the changes of a page that is deleted
	for _, c := range inJSON {
		if id, ok := c["id"].(json.Number); ok {
			if byID[id.String()] != nil {
				t.Errorf("change %s came twice", id)
			}
			byID[id.String()] = c
		}
		if c["log_type"] == "delete" {
			deleted[c["title"]] = true
		}
	}
	hidden := 0
	for _, row := range rows[skip:] {
		c := byID[fmt.Sprint(row.RCID)]
		delete(byID, fmt.Sprint(row.RCID))
		switch {
		case c == nil:
			t.Errorf("the wiki lists a change that did not come: %+v", row)
		case c["title"] != row.Title || c["type"] != row.Type ||
			row.Type == "log" && (c["log_type"] != row.LogType || c["log_action"] != row.LogAction):
			t.Errorf("the wiki lists %+v, and %v came", row, c)
		case row.UserHidden || row.CommentHidden: // by a later revision deletion
			hidden++
		case c["user"] != row.User || c["comment"] != row.Comment:
			t.Errorf("the wiki lists %+v, and %v came", row, c)
		}
	}
	forgotten := len(byID)
	for _, c := range byID {
		if c["type"] == "log" || !deleted[c["title"]] {
			t.Errorf("a change came that the wiki does not list: %v", c)
		}
	}
	if len(rows) < len(inJSON)/2 || hidden == 0 {
		t.Errorf("the wiki lists %d changes only, %d of them hidden", len(rows), hidden)
	}
	t.Logf("%d changes came; the wiki lists %d, of which it has hidden %d, and has forgotten %d with their pages",
		len(inJSON), len(rows)-skip, hidden, forgotten)
}
