package rsm

import (
	"testing"

	"tidings/xmpp/xmlstream"
	"tidings/xmpp/xmlstream/xmlstreamtest"
)

const open = `<set xmlns='http://jabber.org/protocol/rsm'>`

func TestRequest(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     Request
	}{
		{"the first page", `<max>10</max>`, Request{Max: 10, Index: -1}},
		{"the next page", `<max>10</max><after>peterpan@neverland.lit</after>`, Request{Max: 10, Index: -1, After: "peterpan@neverland.lit"}},
		{"the page before", `<max>10</max><before>a&lt;b</before>`, Request{Max: 10, Index: -1, Before: "a<b", Backward: true}},
		{"the last page", `<max>10</max><before></before>`, Request{Max: 10, Index: -1, Backward: true}},
		{"between two items", `<after>a</after><before>b</before>`, Request{Max: -1, Index: -1, After: "a", Before: "b", Backward: true}},
		{"a page out of order", `<max>10</max><index>371</index>`, Request{Max: 10, Index: 371}},
		{"the count only", `<max>0</max>`, Request{Max: 0, Index: -1}},
		{"nothing", ``, Page},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Parse(xmlstreamtest.Element(t, open+tc.in+"</set>"))
			if err != nil || got != tc.want {
				t.Fatalf("%+v, %v", got, err)
			}
			again, err := Parse(xmlstreamtest.Element(t, string(got.Append(nil))))
			if err != nil || again != got {
				t.Errorf("written and read again it is %+v, %v", again, err)
			}
		})
	}
	if got, err := Parse(xmlstream.Element{}); got != Page || err != nil {
		t.Error(got, err)
	}
	// Some clients write the first page so.
	if got, err := Parse(xmlstreamtest.Element(t, open+"<after/></set>")); got != Page || err != nil {
		t.Error(got, err)
	}
	for _, in := range []string{"<max/>", "<max>-1</max>", "<max>ten</max>", "<max>99999999999</max>", "<index>-3</index>", "<index>3</index><after>x</after>", "<index>3</index><before/>"} {
		if r, err := Parse(xmlstreamtest.Element(t, open+in+"</set>")); err == nil || err.Error()[:11] != "bad-request" {
			t.Errorf("%s: %+v, %v", in, r, err)
		}
	}
}

func TestResult(t *testing.T) {
	for _, tc := range []struct {
		r    Result
		want string
	}{
		{Result{First: "stpeter@jabber.org", Last: "peterpan@neverland.lit", Index: 0, Count: 800},
			open + `<first index='0'>stpeter@jabber.org</first><last>peterpan@neverland.lit</last><count>800</count></set>`},
		{Result{First: "a<", Last: "b&", Index: -1, Count: -1}, open + `<first>a&lt;</first><last>b&amp;</last></set>`},
		{Result{Index: -1, Count: 800}, open + `<count>800</count></set>`},
		{Result{Index: -1, Count: -1}, open + `</set>`},
	} {
		if got := string(tc.r.Append(nil)); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
		if got := ParseResult(Find(xmlstreamtest.Element(t, "<fin>"+tc.want+"</fin>"))); got != tc.r {
			t.Errorf("%s was read as %+v", tc.want, got)
		}
	}
	if got := ParseResult(Find(xmlstreamtest.Element(t, "<fin/>"))); got != (Result{Index: -1, Count: -1}) {
		t.Errorf("%+v", got)
	}
	if got := ParseResult(xmlstreamtest.Element(t, open+"<first index='x'>a</first><count>many</count></set>")); got != (Result{First: "a", Index: -1, Count: -1}) {
		t.Errorf("%+v", got)
	}
}

// FuzzSet reads anything; what is a request or a result says the same when it is written and read again.
func FuzzSet(f *testing.F) {
	for _, s := range []string{
		open + "<max>10</max><after>a</after></set>", open + "<max>10</max><before/></set>", open + "<index>3</index></set>",
		open + "<first index='1'>a</first><last>b</last><count>3</count></set>", "<set/>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		el, err := new(xmlstream.Document).Parse([]byte(s), xmlstreamtest.Client)
		if err != nil {
			return
		}
		if r, err := Parse(el); err == nil {
			if again, err := Parse(xmlstreamtest.Element(t, string(r.Append(nil)))); err != nil || again != r {
				t.Fatalf("%s: %+v, then %+v, %v", s, r, again, err)
			}
		}
		if r := ParseResult(el); r.First != "" {
			if again := ParseResult(xmlstreamtest.Element(t, string(r.Append(nil)))); again != r {
				t.Fatalf("%s: %+v, then %+v", s, r, again)
			}
		}
	})
}
