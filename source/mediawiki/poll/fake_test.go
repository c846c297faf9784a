package poll

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// change is a row of the fake wiki's list, shown from visible on.
type change struct {
	id      int64
	at      int64 // seconds since 1970
	visible time.Time
}

// fakeWiki is the API of a wiki, as a transport.
type fakeWiki struct {
	limit int           // rows on a page
	old   bool          // continues as MediaWiki 1.19: by the second, and without curtimestamp
	skew  time.Duration // its clock less ours
	// trouble may answer a request in place of the API; nil for none.
	trouble func(*http.Request) (*http.Response, error)

	mu       sync.Mutex
	changes  []change
	requests []*http.Request
	times    []time.Time
}

func (f *fakeWiki) add(c ...change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes = append(f.changes, c...)
	slices.SortFunc(f.changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
}

func (f *fakeWiki) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.requests)
}

func rowJSON(c change) string {
	return fmt.Sprintf(`{"type":"edit","ns":0,"title":"Page %d","pageid":1,"revid":%d,"old_revid":1,"rcid":%d,"user":"U","userid":2,"bot":false,"new":false,"minor":false,"oldlen":1,"newlen":2,"timestamp":"%s","comment":"é","redirect":false,"tags":[]}`,
		c.id, c.id, c.id, time.Unix(c.at, 0).UTC().Format(time.RFC3339))
}

const siteInfo = `{"query":{"general":{"mainpage":"Main Page","base":"https://wiki.example.org/wiki/Main_Page","sitename":"W","generator":"MediaWiki 1.39.17","wikiid":"xwiki","server":"//wiki.example.org","servername":"wiki.example.org","scriptpath":"/w","articlepath":"/wiki/$1","time":"%s"}}}`

func (f *fakeWiki) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.requests = append(f.requests, r)
	f.times = append(f.times, time.Now())
	f.mu.Unlock()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if f.trouble != nil {
		if resp, err := f.trouble(r); resp != nil || err != nil {
			return resp, err
		}
	}
	return respond(200, f.answer(r.URL.Query())), nil
}

func respond(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// answer is what api.php does with the parameters that a poll has.
func (f *fakeWiki) answer(q url.Values) string {
	now := time.Now().Add(f.skew).UTC()
	if q.Get("format") != "json" || q.Get("formatversion") != "2" || q.Get("action") != "query" {
		return `{"error":{"code":"test","info":"unexpected parameters"}}`
	}
	if q.Get("meta") == "siteinfo" {
		return fmt.Sprintf(siteInfo, now.Format(time.RFC3339))
	}
	if q.Get("list") != "recentchanges" || q.Get("rcdir") != "newer" || q.Get("rclimit") != "max" || !strings.Contains(q.Get("rcprop"), "ids") {
		return `{"error":{"code":"test","info":"unexpected parameters"}}`
	}
	start, err := time.Parse(time.RFC3339, q.Get("rcstart"))
	if err != nil {
		return `{"error":{"code":"badtimestamp_rcstart","info":"Invalid value"}}`
	}
	from := place{time: start.Unix()}
	if c := q.Get("rccontinue"); c != "" {
		stamp, id, _ := strings.Cut(c, "|")
		t, err := time.Parse("20060102150405", stamp)
		n, idErr := strconv.ParseInt(id, 10, 64)
		if err != nil || idErr != nil || q.Get("continue") != "-||" {
			return `{"error":{"code":"badcontinue","info":"Invalid continue param."}}`
		}
		from = place{t.Unix(), n}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var rows []string
	var next *change
	for i := range f.changes {
		c := &f.changes[i]
		if (place{c.at, c.id}).compare(from) < 0 || c.visible.After(time.Now()) {
			continue
		}
		if len(rows) == f.limit {
			next = c
			break
		}
		rows = append(rows, rowJSON(*c))
	}
	list := `"query":{"recentchanges":[` + strings.Join(rows, ",") + `]}}`
	switch {
	case f.old && next != nil:
		return fmt.Sprintf(`{"query-continue":{"recentchanges":{"rcstart":"%s"}},`, time.Unix(next.at, 0).UTC().Format(time.RFC3339)) + list
	case f.old:
		return `{` + list
	case next != nil:
		return fmt.Sprintf(`{"curtimestamp":"%s","continue":{"rccontinue":"%s|%d","continue":"-||"},`, now.Format(time.RFC3339),
			time.Unix(next.at, 0).UTC().Format("20060102150405"), next.id) + list
	}
	return fmt.Sprintf(`{"batchcomplete":true,"curtimestamp":"%s",`, now.Format(time.RFC3339)) + list
}

var errReset = errors.New("connection reset by peer")

func gzipped(s string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	z.Close()
	return b.Bytes()
}

// rcid returns the rcid in a row.
func rcid(payload []byte) (int64, error) {
	var r struct{ RCID int64 }
	err := json.Unmarshal(payload, &r)
	return r.RCID, err
}
