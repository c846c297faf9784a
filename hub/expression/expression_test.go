package expression

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/hub"
)

func item(topic, payload string) *hub.Item {
	return hub.NewItem(&tidings.Event{
		Topic: tidings.Topic(topic), ID: "i1", ContentType: "application/json", Payload: []byte(payload),
		Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
	}, nil)
}

const change = `{"id":7,"type":"edit","namespace":0,"title":"Żaba","comment":"typo","user":"Ann","bot":false,"minor":true,` +
	`"length":{"old":900,"new":100},"revision":{"new":5},"server_name":"pl.wikivoyage.org","wiki":"plwikivoyage","tags":["a","b"]}`

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		text, payload string
		want          bool
	}{
		{`wiki == "plwikivoyage"`, change, true},
		{`wiki == "enwiki"`, change, false},
		{` wiki in ["enwiki", "plwikivoyage"] && !bot `, change, true},
		{`length.new - length.old < -500`, change, true},
		{`length.new - length.old < -500`, `{"type":"new","length":{"new":7}}`, false},
		{`revision.old > 0`, change, false}, // absent: cannot be evaluated
		{`!(revision.old > 0)`, change, false},
		{`has(revision.old) || type == "edit"`, change, true},
		{`server_name.endsWith(".wikivoyage.org")`, change, true},
		{`title.matches("^Ż.b")`, change, true},
		{`type == "edit" && ns == 0 && id > 6`, change, true},
		{`topic.startsWith("/t/") && item == "i1" && kind == "publish"`, `x`, true},
		{`time > timestamp("2026-01-01T00:00:00Z")`, `x`, true},
		{`data.severity > 3`, `{"severity":4}`, true},
		{`data.severity > 3`, `{"severity":"4"}`, false},
		{`data.severity > 3`, `[4]`, false},
		{`data.severity > 3`, `not JSON`, false},
		{`has(data.severity) && data.severity > 3`, `{}`, false},
		{`data.tags.exists(t, t == "b")`, change, true},
		{`bot`, `{"bot":"yes"}`, false},
		{`true`, ``, true},
	} {
		f, err := Compile(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := f.Match(item("/t/x", c.payload)); got != c.want {
			t.Errorf("%s on %.40s: %v, want %v", c.text, c.payload, got, c.want)
		}
	}
}

func TestErrorsPointAtTheColumn(t *testing.T) {
	for text, want := range map[string]string{
		`wiki == "enwiki" && bott`:        `column 21: undeclared reference to 'bott' (did you mean 'bot'?)`,
		`wiki == `:                        `column 9: `,
		`wiki == 3`:                       `column 6: `,
		`wiki`:                            `yields string`,
		"bot ||\n  nope":                  `line 2, column 3: `,
		strings.Repeat("(", 100) + "true": `column `,
		`true // ` + strings.Repeat("x", MaxBytes): `has 2056 bytes and may have 2048`,
		"\xff": `UTF-8`,
		``:     `column 1: `, `namespace == 0`: `column 1: the word namespace is reserved`,
		`  nope`: `column 3: `,
	} {
		_, err := Compile(text)
		if !errors.Is(err, tidings.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestCompiledOnce(t *testing.T) {
	a, _ := Compile(`wiki == "enwiki"`)
	b, _ := Compile("  wiki == \"enwiki\"\n")
	if a != b || a.String() != `cel:wiki == "enwiki"` {
		t.Errorf("%p %p %s", a, b, a)
	}
	for i := range maxKept + 10 {
		if _, err := Compile(fmt.Sprintf("id == %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(kept) > maxKept {
		t.Errorf("%d are kept", len(kept))
	}
}

// TestCostIsBounded has an expression whose cost grows with the fourth power of the list's length.
func TestCostIsBounded(t *testing.T) {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 100), ",") + "]"
	f, err := Compile(fmt.Sprintf("%[1]s.all(a, %[1]s.all(b, %[1]s.all(c, %[1]s.all(d, a+b+c+d > 0))))", list))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool, 1)
	go func() { done <- f.Match(item("/t", `{}`)) }()
	select {
	case got := <-done:
		if got {
			t.Error("it passed although its cost is above the limit")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("not bounded")
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`wiki == "enwiki"`, `length.new - length.old > 5 && !bot`, `data.a.b[0].exists(x, x > 1)`, `"\xff`, `((((`,
		`title.matches("(a*)*b")`, `data.map(x, x + x)`, `time > timestamp("2026")`, `-9223372036854775808 / -1 == 0`} {
		f.Add(s, change)
	}
	f.Fuzz(func(t *testing.T, text, payload string) {
		e, err := Compile(text)
		if err != nil {
			if !errors.Is(err, tidings.ErrInvalid) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		e.Match(item("/t", payload))
	})
}

func BenchmarkMatch(b *testing.B) {
	for name, text := range map[string]string{
		"equal": `wiki == "enwiki"`,
		"usual": `wiki == "plwikivoyage" && !bot && ns == 0 && length.new - length.old < -500`,
		"regex": `title.matches("^Ż.*b")`,
	} {
		f, err := Compile(text)
		if err != nil {
			b.Fatal(err)
		}
		it := item("/t", change)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Match(it)
			}
		})
	}
}
