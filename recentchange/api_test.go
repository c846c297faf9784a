package recentchange

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"tidings"
)

var garden = Wiki{ServerURL: "http://garden.example.org", ScriptPath: "/w", ArticlePath: "/w/index.php/$1"}

func gardenType(t testing.TB) string {
	t.Helper()
	ct, err := APIType("gardenwiki", garden)
	if err != nil {
		t.Fatal(err)
	}
	return ct
}

func TestAPIType(t *testing.T) {
	ct := gardenType(t)
	if want := TypeAPI + `; article="/w/index.php/$1"; script="/w"; server="http://garden.example.org"; wiki=gardenwiki`; ct != want || !IsRecentChange(ct) {
		t.Errorf("got %s\nwant %s", ct, want)
	}
	for _, bad := range []struct {
		id string
		w  Wiki
	}{{"", garden}, {"x", Wiki{ServerURL: "https://" + strings.Repeat("x", 255)}}} {
		if ct, err := APIType(bad.id, bad.w); tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("%+v: %q, %v", bad, ct, err)
		}
	}
}

// TestAPIEqualsFeeds holds the rows that the API lists against what the feeds said of the same changes.
func TestAPIEqualsFeeds(t *testing.T) {
	dir := filepath.Join("testdata", "api")
	feed, elements := map[int64]*RecentChange{}, map[int64]*RecentChange{}
	for _, rc := range decodeAll(t, dir, "json", TypeJSON) {
		feed[rc.ID.Value()] = rc
	}
	for _, rc := range decodeAll(t, dir, "rc", TypeRC) {
		elements[rc.ID.Value()] = rc
	}
	ct := gardenType(t)
	compared, hidden := 0, 0
	for i, row := range datagrams(t, filepath.Join(dir, "api.datagrams")) {
		got, err := Decode(ct, row)
		if err != nil {
			t.Fatalf("%d: %v\n%s", i, err, row)
		}
		if got.Dialect != TypeAPI {
			t.Errorf("%d: dialect %s", i, got.Dialect)
		}
		want, element := feed[got.ID.Value()], elements[got.ID.Value()]
		if want == nil { // of the installation
			continue
		}
		compared++
		if got.Key() != want.Key() || !strings.HasPrefix(got.Key(), "rc/gardenwiki/") {
			t.Errorf("%d: the keys %q and %q differ", i, got.Key(), want.Key())
		}
		a, _ := got.Topic()
		if b, _ := want.Topic(); a != b {
			t.Errorf("%d: the topics %q and %q differ", i, a, b)
		}
		if !got.User.IsSet() || !got.Comment.IsSet() {
			if !strings.Contains(string(row), "hidden") {
				t.Errorf("%d: there is no user or no summary: %s", i, row)
			}
			hidden++
			continue
		}
		type fields struct {
			Type                                          string
			Namespace, Timestamp                          Opt[int64]
			Title, Comment, User                          Opt[string]
			Bot, Minor                                    Opt[bool]
			Length, Revision                              Opt[Pair]
			LogID                                         Opt[int64]
			LogType, LogAction, Server, URL, Script, Wiki Opt[string]
		}
		of := func(rc *RecentChange) fields {
			f := fields{rc.Type, rc.Namespace, rc.Timestamp, rc.Title, rc.Comment, rc.User, rc.Bot, rc.Minor, rc.Length, rc.Revision,
				rc.LogID, rc.LogType, rc.LogAction, rc.ServerName, rc.ServerURL, rc.ServerScriptPath, rc.Wiki}
			if rc.Type == Log {
				f.Minor = Opt[bool]{}
			}
			if rc.Type == Categorize { // the feed says nothing of the page
				f.Bot = Opt[bool]{}
			}
			return f
		}
		if g, w := of(got), of(want); !reflect.DeepEqual(g, w) {
			t.Errorf("%d:\n got %+v\nwant %+v", i, g, w)
		}
		type row2 struct {
			PageID, UserID Opt[int64]
			Revision, Len  Pair
			Anon           bool
		}
		g := row2{got.PageID, element.UserID, got.rcRevision, got.rcLength, got.anonymous()}
		if w := (row2{element.PageID, element.UserID, element.rcRevision, element.rcLength, element.anonymous()}); !reflect.DeepEqual(g, w) {
			t.Errorf("%d:\n got %+v\nwant %+v", i, g, w)
		}
		if !got.UserID.IsSet() && got.User.IsSet() {
			t.Errorf("%d: there is no userid in %s", i, row)
		}
		// The element that is made of the row is a change like the one that was sent.
		again, err := Decode(TypeRC, got.AppendRC(nil))
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if again.Key() != got.Key() || !reflect.DeepEqual(again.Tags, nilIfEmpty(got.Tags)) || again.UserID != got.UserID {
			t.Errorf("%d: %s, %q; %s, %q", i, again.Key(), again.Tags, got.Key(), got.Tags)
		}
		if g, w := norm(t, again.LogParams.Value()), norm(t, element.LogParams.Value()); !reflect.DeepEqual(g, w) && rcLike(g) && rcLike(w) {
			t.Errorf("%d: the parameters\n got %v\nwant %v", i, g, w)
		}
	}
	if compared < 60 || hidden == 0 {
		t.Errorf("only %d rows were compared, %d of them hidden", compared, hidden)
	}
}

func nilIfEmpty(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
}

// rcLike reports whether the parameters hold no list: the API's XML gives the elements of a list names that its JSON does
// not tell.
func rcLike(v any) bool {
	switch v := v.(type) {
	case []any:
		return false
	case map[string]any:
		for _, e := range v {
			if !rcLike(e) {
				return false
			}
		}
	}
	return true
}

func TestAPIRow(t *testing.T) {
	ct := gardenType(t)
	row := `{"type":"edit","ns":1,"title":"Talk:A B","pageid":7,"revid":101,"old_revid":100,"rcid":42,"user":"Alice","userid":3,` +
		`"bot":true,"new":false,"minor":true,"oldlen":10,"newlen":25,"timestamp":"2010-10-12T08:57:03Z","comment":"x <y> \u00e4",` +
		`"redirect":true,"patrolled":false,"unpatrolled":true,"autopatrolled":false,"tags":["a","b c"],"sha1":"00","suppressed":null}`
	for _, form := range []string{row, strings.NewReplacer("true", `""`, `"new":false,`, "", `"patrolled":false,`, "", `"autopatrolled":false,`, "", ":7,", `:"7",`).Replace(row)} {
		rc, err := Decode(ct, []byte(form))
		if err != nil {
			t.Fatal(err)
		}
		want := &RecentChange{
			Dialect: TypeAPI, ID: Some[int64](42), Type: Edit, Namespace: Some[int64](1), Title: Some("Talk:A B"), Comment: Some("x <y> ä"),
			Timestamp: Some[int64](1286873823), User: Some("Alice"), Bot: Some(true), Minor: Some(true), Patrolled: Some(false),
			Length: Some(Pair{Some[int64](10), Some[int64](25)}), Revision: Some(Pair{Some[int64](100), Some[int64](101)}),
			ServerURL: Some("http://garden.example.org"), ServerName: Some("garden.example.org"), ServerScriptPath: Some("/w"), Wiki: Some("gardenwiki"),
			PageID: Some[int64](7), UserID: Some[int64](3), Anon: Some(false), Redirect: Some(true), Tags: []string{"a", "b c"},
			rcRevision: Pair{Some[int64](100), Some[int64](101)}, rcLength: Pair{Some[int64](10), Some[int64](25)}, articlePath: "/w/index.php/$1",
		}
		if !reflect.DeepEqual(rc, want) {
			t.Errorf("%s\n got %+v\nwant %+v", form, rc, want)
		}
		if got, want := string(rc.AppendRC(nil)), `<rc type="edit" ns="1" title="Talk:A B" rcid="42" pageid="7" revid="101" old_revid="100" user="Alice" userid="3" bot="" minor="" oldlen="10" newlen="25" timestamp="2010-10-12T08:57:03Z" comment="x &lt;y&gt; ä" redirect="" wikiid="gardenwiki">
    <tags>
      <tag>a</tag>
      <tag>b c</tag>
    </tags>
  </rc>`; got != want {
			t.Errorf("the element\n got %s\nwant %s", got, want)
		}
		event := rc.AppendEventStreams(nil, Meta{Topic: "t", Offset: 5})
		var o struct {
			Meta struct{ URI, Domain, ID string }
			ID   int64
			Wiki string
		}
		if err := json.Unmarshal(event, &o); err != nil || o.Meta.URI != "http://garden.example.org/w/index.php/Talk:A_B" || o.Meta.Domain != "garden.example.org" || o.ID != 42 || o.Wiki != "gardenwiki" {
			t.Errorf("the event %s (%v)", event, err)
		}
	}
	for name, bad := range map[string]struct {
		ct, row string
		want    Reason
	}{
		"no object":    {ct, `[]`, Malformed},
		"cut":          {ct, `{"type":"edit","title":"A`, Truncated},
		"no type":      {ct, `{"rcid":5}`, MissingField},
		"type":         {ct, `{"type":{}}`, BadField},
		"rcid":         {ct, `{"type":"edit","rcid":"x"}`, BadField},
		"empty number": {ct, `{"type":"edit","rcid":""}`, BadField},
		"flag":         {ct, `{"type":"edit","bot":"no"}`, BadField},
		"title":        {ct, `{"type":"edit","title":[1]}`, BadField},
		"timestamp":    {ct, `{"type":"edit","timestamp":5}`, BadField},
		"time":         {ct, `{"type":"edit","timestamp":"yesterday"}`, BadField},
		"tags":         {ct, `{"type":"edit","tags":[1]}`, BadField},
		"parameters":   {TypeAPI + "; wiki=\x00", `{"type":"edit"}`, BadField},
		"bytes":        {ct, "{\"type\":\"edit\",\"user\":\"\xff\"}", InvalidUTF8},
	} {
		if rc, err := Decode(bad.ct, []byte(bad.row)); ReasonOf(err) != bad.want {
			t.Errorf("%s: %+v, %v", name, rc, err)
		}
	}
	// What is not known of the wiki is absent, and the row has no key.
	if rc, err := Decode(TypeAPI, []byte(`{"type":142,"rcid":5,"logparams":null}`)); err != nil || rc.Type != "142" || rc.Key() != "" || rc.Wiki.IsSet() || rc.ServerName.IsSet() {
		t.Errorf("%+v, %v", rc, err)
	}
	if rc, err := Decode(ct, []byte(`{"type":"log","rcid":5,"logparams":{}}`)); err != nil || rc.LogParams.Value() != "[]" {
		t.Errorf("%+v, %v", rc, err)
	}
}

func FuzzAPI(f *testing.F) {
	ct := gardenType(f)
	for _, d := range datagrams(f, filepath.Join("testdata", "api", "api.datagrams")) {
		f.Add(ct, d)
	}
	f.Add(TypeAPI, []byte(`{"type":"edit","rcid":"5","bot":""}`))
	f.Add(TypeAPI+`; wiki="a\"b"; server="::"; article=x`, []byte(`{"type":"log","logparams":[null,{"a":1}],"timestamp":"0001-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, ct string, row []byte) {
		if dialect(ct) != TypeAPI {
			return
		}
		rc, err := Decode(ct, row)
		if err != nil {
			if ReasonOf(err) == "" {
				t.Fatalf("%v has no reason", err)
			}
			return
		}
		check(t, rc)
	})
}
