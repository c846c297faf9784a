package web

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"tidings"
	"tidings/hub"
	"tidings/outlet"
)

// view is what the reader asked to see: the query of the page and of its stream.
type view struct {
	Topics    []string   // as given
	Filter    string     // an expression
	Fields    string     // name=value, joined by &, as the form shows them
	Complaint *complaint // what is wrong with them, or nil

	patterns []tidings.Pattern
	filter   hub.Filter
	fields   url.Values
}

// everything is the pattern of a page that names none.
const everything = "/**"

// complaint is what is wrong with the form.
type complaint struct {
	Field  string // topic, filter or fields
	Detail string
	// Of an error with a column, the text around it.
	Before, At, After string
	Column            int

	err error
}

func complain(field string, err error) *complaint {
	c := &complaint{Field: field, Detail: "The server failed in a way it did not foresee. Its log says how.", err: err}
	var told *tidings.Error
	var gap *tidings.GapError
	switch {
	case errors.As(err, &told):
		c.Detail = told.Detail
	case errors.As(err, &gap):
		c.Detail = gap.Error()
	}
	if first, n := utf8.DecodeRuneInString(c.Detail); n > 0 {
		c.Detail = string(unicode.ToUpper(first)) + c.Detail[n:]
	}
	return c
}

// notFields are the query parameters of a page that mean something else than a field to filter by.
var notFields = []string{"topic", "filter", "fields", "since", "limit", "format", "item", "match", "lastEventId", "lastEventID"}

// readView reads the query. moved says that the same view has another address: a form sends all of its boxes, and the
// fields in one of them.
func readView(q url.Values, maxPatterns int) (v view, moved bool) {
	v.fields = url.Values{}
	for name, values := range q {
		if !slices.Contains(notFields, name) {
			v.fields[name] = values
		}
	}
	for _, t := range q["topic"] {
		if t = strings.TrimSpace(t); t != "" && !slices.Contains(v.Topics, t) {
			v.Topics = append(v.Topics, t)
		}
	}
	if len(v.Topics) == 0 {
		v.Topics = []string{everything}
	}
	var filters []string
	for _, f := range q["filter"] {
		if f = strings.TrimSpace(f); f != "" {
			filters = append(filters, f)
		}
	}
	v.Filter = strings.Join(filters, " && ")
	if len(filters) > 1 {
		v.Filter = "(" + strings.Join(filters, ") && (") + ")"
	}
	box := strings.TrimSpace(strings.Join(q["fields"], "&"))
	fieldsErr := v.readFields(box)
	if fieldsErr != nil {
		v.Fields = box
	} else {
		v.Fields = fieldsText(v.fields)
	}
	if fieldsErr != nil {
		v.Complaint = complain("fields", fieldsErr)
		return v, false
	}
	v.check(maxPatterns)
	// Boxes that are empty and what goes without saying do not belong in an address.
	var topics, filter []string
	if v.Chosen() {
		topics = v.Topics
	}
	if v.Filter != "" {
		filter = []string{v.Filter}
	}
	return v, q.Has("fields") || !slices.Equal(q["topic"], topics) || !slices.Equal(q["filter"], filter)
}

// readFields adds what the form's box has: name=value, joined by &.
func (v *view) readFields(box string) error {
	if box == "" {
		return nil
	}
	for part := range strings.SplitSeq(box, "&") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case !ok || name == "":
			return tidings.Errorf(tidings.ErrInvalid, "%q is not a field and its value: want name=value, such as wiki=enwiki, and & between two of them", part)
		case slices.Contains(notFields, name):
			return tidings.Errorf(tidings.ErrInvalid, "%s has a meaning of its own in an address and cannot be the name of a field here: use a filter expression", name)
		}
		if !slices.Contains(v.fields[name], value) {
			v.fields[name] = append(v.fields[name], value)
		}
	}
	return nil
}

// fieldsText returns the fields as the form's box has them.
func fieldsText(fields url.Values) string {
	var names, parts []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range fields[name] {
			parts = append(parts, name+"="+value)
		}
	}
	return strings.Join(parts, " & ")
}

// check fills the patterns and the filter, or says what is wrong.
func (v *view) check(maxPatterns int) {
	for _, t := range v.Topics {
		p, err := tidings.ParsePattern(t)
		if err == nil && len(v.Topics) > maxPatterns {
			err = tidings.Errorf(tidings.ErrInvalid, "the page names %d topics and may name %d", len(v.Topics), maxPatterns)
		}
		if err != nil {
			v.Complaint = complain("topic", err)
			return
		}
		v.patterns = append(v.patterns, p)
	}
	v.patterns = tidings.Patterns(v.patterns...)
	byField, err := outlet.Filter(v.fields)
	if err != nil {
		v.Complaint = complain("fields", err)
		return
	}
	var byExpression hub.Filter
	if v.Filter != "" {
		if byExpression, err = outlet.Filter(url.Values{"filter": {v.Filter}}); err != nil {
			v.Complaint = complain("filter", err)
			v.Complaint.point(v.Filter)
			return
		}
	}
	v.filter = hub.All(byField, byExpression)
}

var place = regexp.MustCompile(`\bat (?:line (\d+), )?column (\d+)`)

// point finds the place in the text that the detail names: a line and a column, counted in characters from 1.
func (c *complaint) point(text string) {
	m := place.FindStringSubmatch(c.Detail)
	if m == nil {
		return
	}
	line := max(1, atoi(m[1]))
	column := atoi(m[2])
	runes := []rune(text)
	at := 0
	for ; line > 1 && at < len(runes); at++ {
		if runes[at] == '\n' {
			line--
		}
	}
	at = min(at+max(column, 1)-1, len(runes))
	c.Column = at + 1
	c.Before = string(runes[:at])
	if at < len(runes) {
		c.At, c.After = string(runes[at]), string(runes[at+1:])
	}
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func (v view) query() hub.Query { return hub.Query{Patterns: v.patterns, Filter: v.filter} }

func (v view) matches(t tidings.Topic) bool {
	return slices.ContainsFunc(v.patterns, func(p tidings.Pattern) bool { return p.Match(t) })
}

func (v view) patternsText() string { return hub.Query{Patterns: v.patterns}.String() }

// Filtered reports whether not every event of the topics passes.
func (v view) Filtered() bool { return v.Filter != "" || len(v.fields) > 0 }

// Chosen reports whether the reader chose topics.
func (v view) Chosen() bool { return !slices.Equal(v.Topics, []string{everything}) }

// Narrowed reports whether the page is about less than everything.
func (v view) Narrowed() bool { return v.Filtered() || v.Chosen() }

// values returns the canonical query: of the stream with the pattern named even if it is everything.
func (v view) values(stream bool) url.Values {
	q := url.Values{}
	if stream || v.Chosen() {
		q["topic"] = v.Topics
	}
	if v.Filter != "" {
		q.Set("filter", v.Filter)
	}
	for name, values := range v.fields {
		q[name] = values
	}
	return q
}

// encode writes a query so that a person can read it: slashes, stars and a few more stand for themselves, as RFC 3986
// section 3.4 allows.
func encode(q url.Values) string {
	return strings.NewReplacer("%2F", "/", "%2A", "*", "%3A", ":", "%2C", ",", "%40", "@", "+", "%20").Replace(q.Encode())
}

// page returns the address of the page of the view.
func (v view) page() string {
	if q := v.values(false); len(q) > 0 {
		return "/?" + encode(q)
	}
	return "/"
}

// PageOf returns the address of the page about a topic or a pattern, with the filter that the query of the topic's own
// address has.
func PageOf(topic string, q url.Values) string {
	v, _ := readView(q, 1)
	v.Topics = []string{topic}
	return v.page()
}

func (v view) stream() string { return "/subscribe?" + encode(v.values(true)) }
func (v view) state() string  { return StatePath + "?" + encode(v.values(true)) }

// TopicPage returns the address of the page of a topic, with the same filter.
func (v view) TopicPage(t tidings.Topic) string {
	v.Topics = []string{string(t)}
	return v.page()
}

// AllTopics returns the address of the page without the topics, with the same filter.
func (v view) AllTopics() string {
	v.Topics = []string{everything}
	return v.page()
}

// TopicsList returns the address of the list of all topics that match, as JSON.
func (v view) TopicsList() string {
	return "/topics?" + encode(url.Values{"match": v.Topics[:1]})
}

// recentChanges reports whether recent changes can be among what the view shows.
func (v view) recentChanges() bool {
	return slices.ContainsFunc(v.patterns, func(p tidings.Pattern) bool {
		first := p.Segments()[0]
		return first == "**" || tidings.MustPattern("/"+first).Match("/recentchange")
	})
}

// example is a view that the reader may like.
type example struct{ Name, URL string }

// examples returns filters of recent changes to try.
func (v view) examples() []example {
	if !v.recentChanges() {
		return nil
	}
	with := func(name, filter string, fields url.Values) example {
		o := v
		o.Filter, o.fields = filter, fields
		return example{name, o.page()}
	}
	return []example{
		with("people only", "", url.Values{"bot": {"false"}}),
		with("new pages", "", url.Values{"type": {"new"}}),
		with("large removals", "!bot && length.new - length.old < -500", nil),
	}
}
