package poll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tidings/internal/retry"
	"tidings/recentchange"
)

// Limits of a request.
const (
	requestTimeout = 2 * time.Minute
	maxAnswer      = 64 << 20 // bytes, inflated: 5000 rows of the largest kind have a tenth of that
)

// columns is what is asked of each row. patrolled is missing: the API gives it to patrollers only and refuses others.
const columns = "user|userid|comment|flags|timestamp|title|ids|sizes|redirect|loginfo|tags"

// answer is what the API says, in formatversion 2 and before it.
type answer struct {
	Error *struct {
		Code string  `json:"code"`
		Info string  `json:"info"`
		Lag  float64 `json:"lag"`
	} `json:"error"`
	Now      time.Time         `json:"curtimestamp"`
	Continue map[string]string `json:"continue"`
	// QueryContinue is the form before MediaWiki 1.26.
	QueryContinue map[string]map[string]string `json:"query-continue"`
	Query         struct {
		General       general           `json:"general"`
		RecentChanges []json.RawMessage `json:"recentchanges"`
	} `json:"query"`
}

// general is what meta=siteinfo says.
type general struct {
	WikiID      string    `json:"wikiid"`
	Base        string    `json:"base"`   // the main page's canonical address
	Server      string    `json:"server"` // may lack the scheme
	ScriptPath  string    `json:"scriptpath"`
	ArticlePath string    `json:"articlepath"`
	Time        time.Time `json:"time"`
	Generator   string    `json:"generator"`
}

// wiki returns the wiki as the feeds describe it.
func (g *general) wiki() recentchange.Wiki {
	w := recentchange.Wiki{ServerURL: g.Server, ScriptPath: g.ScriptPath, ArticlePath: g.ArticlePath}
	if u, err := url.Parse(g.Base); err == nil && u.Host != "" {
		w.ServerURL = u.Scheme + "://" + u.Host
	}
	if strings.HasPrefix(w.ServerURL, "//") {
		w.ServerURL = "https:" + w.ServerURL
	}
	if w.ScriptPath == "" {
		w.ScriptPath = "/"
	}
	return w
}

// refusal is an answer of the API, or of what stands before it, that is no list.
type refusal struct {
	status     int
	code, info string
	wait       time.Duration // what Retry-After asks for
}

func (r *refusal) Error() string {
	if r.code == "" {
		return fmt.Sprintf("the API answered %d %s", r.status, http.StatusText(r.status))
	}
	return fmt.Sprintf("the API answered %s: %s", r.code, r.info)
}

// lagged reports whether the wiki asks to wait until its replicas have caught up.
func lagged(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.code == "maxlag"
}

// call asks the API. It makes one request and does not repeat it.
func (p *Poller) call(ctx context.Context, q url.Values) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	u := *p.url
	for name, v := range u.Query() {
		if !q.Has(name) {
			q[name] = v
		}
	}
	q.Set("action", "query")
	q.Set("format", "json")
	q.Set("formatversion", "2")
	q.Set("curtimestamp", "1")
	if p.config.MaxLag > 0 {
		q.Set("maxlag", fmt.Sprint(int(p.config.MaxLag.Seconds())))
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", p.config.UserAgent)
	req.Header.Set("Accept", "application/json")
	if p.config.Token != "" {
		req.Header.Set("Authorization", "Bearer "+p.config.Token)
	}
	p.requests.Add(1)
	resp, err := p.http.Do(req) // gzip is asked for and undone by net/http
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	p.bytes.Add(uint64(len(body)))
	refused := &refusal{status: resp.StatusCode, wait: retry.After(resp.Header, time.Now())}
	var a answer
	if err == nil && len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	switch {
	case err == nil && a.Error != nil:
		refused.code, refused.info = a.Error.Code, a.Error.Info
		if refused.wait == 0 {
			refused.wait = min(time.Duration(a.Error.Lag*float64(time.Second)), retry.MaxAfter)
		}
		return nil, refused
	case resp.StatusCode != http.StatusOK:
		return nil, refused
	case err != nil:
		return nil, fmt.Errorf("the answer is no list of changes: %w", err)
	}
	return &a, nil
}

// site asks which wiki this is.
func (p *Poller) site(ctx context.Context) (*general, error) {
	a, err := p.call(ctx, url.Values{"meta": {"siteinfo"}, "siprop": {"general"}})
	if err != nil {
		return nil, err
	}
	g := &a.Query.General
	if g.WikiID == "" {
		return nil, errors.New("the API does not say which wiki it is of (meta=siteinfo, wikiid)")
	}
	if g.Time.IsZero() {
		g.Time = a.Now
	}
	return g, nil
}

// page is one answer to a question for changes.
type page struct {
	rows []row
	next url.Values // the parameters of the next page; nil if there is none
	now  int64      // by the wiki's clock, in seconds
}

// row is a change: its place, and its bytes as received.
type row struct {
	place
	external bool
	bytes    []byte
}

// list asks for one page of changes from the time on, or for the page that next names.
func (p *Poller) list(ctx context.Context, from int64, next url.Values) (*page, error) {
	q := url.Values{"list": {"recentchanges"}, "rcprop": {columns}, "rcdir": {"newer"}, "rclimit": {"max"}, "continue": {""},
		"rcstart": {time.Unix(from, 0).UTC().Format("2006-01-02T15:04:05Z")}}
	for name, v := range next {
		q[name] = v
	}
	a, err := p.call(ctx, q)
	if err != nil {
		return nil, err
	}
	if a.Query.RecentChanges == nil {
		return nil, errors.New("the answer has no list of changes")
	}
	pg := &page{now: a.Now.Unix()}
	if a.Now.IsZero() {
		pg.now = time.Now().Add(p.skew).Unix()
	}
	for _, b := range a.Query.RecentChanges {
		pg.rows = append(pg.rows, parseRow(b))
	}
	more := a.Continue
	if more == nil {
		more = a.QueryContinue["recentchanges"]
	}
	if len(more) > 0 {
		pg.next = url.Values{}
		for name, v := range more {
			pg.next.Set(name, v)
		}
	}
	return pg, nil
}

// parseRow reads what has to be known of a row before it is decoded. A row without an rcid is known by its bytes.
func parseRow(b []byte) row {
	var r struct {
		RCID      json.Number `json:"rcid"`
		Timestamp time.Time   `json:"timestamp"`
		Type      json.RawMessage
	}
	err := json.Unmarshal(b, &r)
	id, idErr := r.RCID.Int64()
	if err != nil || idErr != nil || id <= 0 {
		h := fnv.New64a()
		h.Write(b)
		id = -1 - int64(h.Sum64()>>1)
	}
	t := string(r.Type)
	return row{place: place{r.Timestamp.Unix(), id}, external: t == `"external"` || t == "5", bytes: b}
}
