package xmlstream

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	badFormat  = "xmlstream: bad-format: "
	malform    = "xmlstream: not-well-formed: "
	overLimit  = "xmlstream: policy-violation: "
	restrict   = "xmlstream: restricted-xml: "
	unsupport  = "xmlstream: unsupported-encoding: "
	testHeader = "<s:s xmlns:s='x'>"
)

var opened = token{kind: Open, bytes: testHeader}

func TestScanner(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []token
	}{
		{"nothing", "", nil},
		{"blanks", " \r\n\t", nil},
		{"header", testHeader, []token{opened}},
		{"declaration", "<?xml version='1.0'?>" + testHeader, []token{opened}},
		{"declaration in full", "<?xml version=\"1.0\"  encoding = 'utf-8' standalone='yes' ?>\r\n" + testHeader, []token{opened}},
		{"declaration, standalone only", "<?xml version='1.0' standalone='no'?>" + testHeader, []token{opened}},
		{"stanzas", testHeader + "<a/> \n<b>x<c d='>' e=\"'/>\"/>y</b>\n<d></d >", []token{opened, {Stanza, "<a/>", ""}, {Stanza, "<b>x<c d='>' e=\"'/>\"/>y</b>", ""}, {Stanza, "<d></d >", ""}}},
		{"end", testHeader + "<a/></s:s >\n", []token{opened, {Stanza, "<a/>", ""}, {End, "</s:s >", ""}}},
		{"CDATA", testHeader + "<a><![CDATA[</a>]]x]>]]]]></a>", []token{opened, {Stanza, "<a><![CDATA[</a>]]x]>]]]]></a>", ""}}},
		{"names outside ASCII", testHeader + "<\u00e9:\u00e9 \u00e9='\u00e9'/>", []token{opened, {Stanza, "<\u00e9:\u00e9 \u00e9='\u00e9'/>", ""}}},
		{"stanza that is ill-formed inside", testHeader + "<a></b>", []token{opened, {Stanza, "<a></b>", ""}}},

		{"empty header", "<s/>", []token{{err: badFormat + "the stream header is an empty element"}}},
		{"text first", "GET / HTTP/1.1\r\n", []token{{err: malform + "text before the stream header"}}},
		{"TLS first", "\x16\x03\x01", []token{{err: malform + "text before the stream header"}}},
		{"end first", "</s>", []token{{err: malform + "an end tag before the stream header"}}},
		{"UTF-16", "\xff\xfe<\x00", []token{{err: unsupport + "the stream is not in UTF-8"}}},
		{"UTF-16, big end first", "\x00<\x00s", []token{{err: unsupport + "the stream is not in UTF-8"}}},
		{"UTF-16 without mark", "<\x00s\x00", []token{{err: unsupport + "the stream is not in UTF-8"}}},
		{"encoding", "<?xml version='1.0' encoding='ISO-8859-1'?>", []token{{err: unsupport + "the encoding is not UTF-8"}}},
		{"version", "<?xml version='1.1'?>", []token{{err: malform + "the version of XML is not 1.0"}}},
		{"no version", "<?xml encoding='UTF-8'?>", []token{{err: malform + "the XML declaration is wrong"}}},
		{"declaration without quotes", "<?xml version=1.0?>", []token{{err: malform + "the XML declaration is wrong"}}},
		{"declaration with one quote", "<?xml version='1.0?>", []token{{err: malform + "the XML declaration is wrong"}}},
		{"declaration without blanks", "<?xml version='1.0'encoding='UTF-8'?>", []token{{err: malform + "the XML declaration is wrong"}}},
		{"declaration with more", "<?xml version='1.0' standalone='yes' x='y'?>", []token{{err: malform + "the XML declaration is wrong"}}},
		{"declaration, standalone wrong", "<?xml version='1.0' standalone='maybe'?>", []token{{err: malform + "the XML declaration is wrong"}}},
		{"declaration, bad encoding and more", "<?xml version='1.0' encoding='UTF-8' x?>", []token{{err: malform + "the XML declaration is wrong"}}},
		{"declaration late", " <?xml version='1.0'?>", []token{{err: restrict + "processing instruction"}}},
		{"declaration twice", "<?xml version='1.0'?><?xml version='1.0'?>", []token{{err: restrict + "processing instruction"}}},
		{"declaration without end", "<?xml " + strings.Repeat("x", 300), []token{{err: restrict + "processing instruction"}}},
		{"declaration in a stream", testHeader + "<?xml version='1.0'?>", []token{opened, {err: restrict + "processing instruction"}}},
		{"instruction", "<?xml-stylesheet href='x'?>", []token{{err: restrict + "processing instruction"}}},
		{"instruction in a stanza", testHeader + "<a><?php ?></a>", []token{opened, {err: restrict + "processing instruction"}}},
		{"comment", testHeader + "<a><!-- x --></a>", []token{opened, {err: restrict + "comment"}}},
		{"comment first", "<!-- x -->" + testHeader, []token{{err: restrict + "comment"}}},
		{"DOCTYPE", "<?xml version='1.0'?>\n<!DOCTYPE lolz [\n <!ENTITY lol \"lol\">\n <!ENTITY lol1 \"&lol;&lol;&lol;\">\n]>\n" + testHeader, []token{{err: restrict + "document type declaration"}}},
		{"unknown section", testHeader + "<a><![IGNORE[x]]></a>", []token{opened, {err: malform + "a <! that begins nothing"}}},
		{"CDATA between stanzas", testHeader + "<![CDATA[x]]>", []token{opened, {err: badFormat + "text between stanzas"}}},
		{"text between stanzas", testHeader + "<a/>x<b/>", []token{opened, {Stanza, "<a/>", ""}, {err: badFormat + "text between stanzas"}}},
		{"NUL between stanzas", testHeader + "<a/>\x00", []token{opened, {Stanza, "<a/>", ""}, {err: badFormat + "text between stanzas"}}},
		{"other end", testHeader + "</t:s>", []token{opened, {err: malform + "the end tag of the stream has another name"}}},
		{"behind the end", testHeader + "</s:s><a/>", []token{opened, {End, "</s:s>", ""}, {err: malform + "something behind the end of the stream"}}},
		{"no name", testHeader + "< a/>", []token{opened, {err: malform + "a < that begins no tag"}}},
		{"number as a name", testHeader + "<1/>", []token{opened, {err: malform + "a < that begins no tag"}}},
		{"slash", testHeader + "<a / >", []token{opened, {err: malform + "a / inside a start tag"}}},
		{"tag in a tag", testHeader + "<a <b/>", []token{opened, {err: malform + "a start tag that is not right"}}},
		{"forgotten quote", testHeader + "<a b='c><d/></a>", []token{opened, {err: malform + "a < in an attribute value"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Scanner
			if got := scan(t, &s, []byte(c.in)); !slices.Equal(got, c.want) {
				t.Errorf("%q:\n got %v\nwant %v", c.in, got, c.want)
			}
			for _, size := range []int{1, 2, 3, 7} {
				var s Scanner
				if got := scan(t, &s, slices.Collect(slices.Chunk([]byte(c.in), size))...); !slices.Equal(got, c.want) {
					t.Errorf("%q in pieces of %d:\n got %v\nwant %v", c.in, size, got, c.want)
				}
			}
		})
	}
}

// Every stanza of the corpus, in one stream, cut at each place.
func TestScannerCuts(t *testing.T) {
	want := []token{{kind: Open, bytes: header[strings.Index(header, "<stream"):]}}
	for _, s := range stanzas(t) {
		want = append(want, token{kind: Stanza, bytes: s})
	}
	want = append(want, token{kind: End, bytes: "</stream:stream>"})
	stream := []byte(header + "\n" + strings.Join(stanzas(t), "\n") + "</stream:stream>")
	for size := 1; size < 40; size++ {
		var s Scanner
		if got := scan(t, &s, slices.Collect(slices.Chunk(stream, size))...); !slices.Equal(got, want) {
			t.Fatalf("in pieces of %d: %v", size, got)
		}
	}
	for at := 0; at <= len(stream); at += 13 {
		var s Scanner
		if got := scan(t, &s, stream[:at], stream[at:]); !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %v", at, got)
		}
	}
}

func TestScannerLimits(t *testing.T) {
	limits := Limits{Depth: 3, Attrs: 4, Elements: 5, Name: 10, Stanza: 100}
	for _, c := range []struct{ in, want string }{
		{"<a><a><a></a></a></a>", ""},
		{"<a><a><a/></a></a>", ""},
		{"<a><a><a><a/></a></a></a>", "more than 3 elements within each other"},
		{"<a b='' c=\"\" d='' e=''/>", ""},
		{"<a b='' c='' d='' e='' f=''/>", "more than 4 attributes in one element"},
		{"<a><b/><b></b><b/><b/></a>", ""},
		{"<a><b/><b></b><b/><b/><b/></a>", "more than 5 elements in one stanza"},
		{"<abcdefghij abcdefghij='0123456789012'/>", ""},
		{"<abcdefghijk/>", "a name longer than 10 bytes"},
		{"<a abcdefghijk=''/>", "a name longer than 10 bytes"},
		{"<a>" + strings.Repeat("x", 93) + "</a>", ""},
		{"<a>" + strings.Repeat("x", 94) + "</a>", "a stanza longer than 100 bytes"},
		{"<a b='" + strings.Repeat("x", 94), "a stanza longer than 100 bytes"},
	} {
		want := []token{opened, {kind: Stanza, bytes: c.in}}
		if c.want != "" {
			want[1] = token{err: overLimit + c.want}
		}
		for _, size := range []int{1, 2, 1000} {
			s := Scanner{Limits: limits}
			if got := scan(t, &s, slices.Collect(slices.Chunk([]byte(testHeader+c.in+"          "), size))...); !slices.Equal(got, want) {
				t.Errorf("%q: %v", c.in, got)
			}
		}
		if !strings.HasSuffix(c.in, ">") {
			continue
		}
		d := Document{Limits: limits}
		if _, err := d.Parse([]byte(c.in), nil); (err == nil) != (c.want == "") || err != nil && err.Error() != overLimit+c.want {
			t.Errorf("%q: Parse says %v", c.in, err)
		}
	}
}

// What a peer can send to make us hold memory or time.
func TestHostile(t *testing.T) {
	for _, c := range []struct {
		name, want string
		first      string
		repeat     string
	}{
		{"10,000 levels", overLimit + "more than 64 elements within each other", header, "<a>"},
		{"a stanza without end", overLimit + "a stanza longer than 262144 bytes", header + "<message><body>", "lol "},
		{"elements without end", overLimit + "more than 16384 elements in one stanza", header + "<message>", "<a/>"},
		{"a CDATA section without end", overLimit + "a stanza longer than 262144 bytes", header + "<message><![CDATA[", "]"},
		{"a megabyte of attributes", overLimit + "more than 64 attributes in one element", header + "<message ", "a='b' "},
		{"a value without end", overLimit + "a stanza longer than 262144 bytes", header + "<message a='", "x"},
		{"blanks in a tag", overLimit + "a stanza longer than 262144 bytes", header + "<message ", "  "},
		{"an end tag without end", overLimit + "a stanza longer than 262144 bytes", header + "<a></a", "  "},
		{"a name without end", overLimit + "a name longer than 256 bytes", header + "<", "name"},
		{"a header without end", overLimit + "a stream header longer than 10000 bytes", "<stream:stream to='", "x"},
		{"billion laughs", restrict + "document type declaration", "<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY lol 'lol'>", "<!ENTITY l '&lol;&lol;'>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{61, 4096} {
				var s Scanner
				in := []byte(c.first + strings.Repeat(c.repeat, 1<<20/len(c.repeat)))
				got := scan(t, &s, slices.Collect(slices.Chunk(in, size))...)
				if last := got[len(got)-1]; last.err != c.want {
					t.Errorf("%v", last)
				}
			}
		})
	}
	var s Scanner
	blanks := []byte(strings.Repeat(" ", 4096))
	scan(t, &s, []byte(header))
	for range 1000 { // a peer may keep its connection alive for as long as it likes
		if got := scan(t, &s, blanks); got != nil {
			t.Fatal(got)
		}
	}
}

func TestRestart(t *testing.T) {
	var s Scanner
	s.Limits.Depth = 7
	s.Feed([]byte(testHeader + "<auth/><?xml version='1.0'?>" + testHeader + "<a/><b"))
	for _, want := range []string{testHeader, "<auth/>"} {
		if _, b, err := s.Next(); string(b) != want || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
	}
	if !strings.HasPrefix(string(s.Rest()), "<?xml") {
		t.Fatalf("rest %q", s.Rest())
	}
	s.Restart()
	if s.Limits.Depth != 7 {
		t.Error("Restart forgets the limits")
	}
	for _, want := range []string{testHeader, "<a/>", ""} {
		if _, b, err := s.Next(); string(b) != want || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
	}
	if rest := s.Rest(); string(rest) != "<b" {
		t.Errorf("rest %q", rest)
	}
	s.Feed([]byte("/><c/>"))
	s.Feed([]byte("<d/>")) // before all of it was asked for
	for _, want := range []string{"<b/>", "<c/>", "<d/>", ""} {
		if _, b, err := s.Next(); string(b) != want || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
	}
	if rest := s.Rest(); len(rest) != 0 {
		t.Errorf("rest %q", rest)
	}
	s.Feed([]byte("<e"))
	if k, _, err := s.Next(); k != None || err != nil {
		t.Fatal(k, err)
	}
	s.Restart() // what was incomplete belongs to the new stream
	s.Feed([]byte(" f=''>"))
	if k, b, err := s.Next(); k != Open || string(b) != "<e f=''>" || err != nil {
		t.Errorf("%v %q %v", k, b, err)
	}
	s.Feed([]byte("<g"))
	if k, _, err := s.Next(); k != None || err != nil {
		t.Fatal(k, err)
	}
	s.Reset()
	if got := scan(t, &s, []byte(testHeader)); !slices.Equal(got, []token{opened}) || s.Limits.Depth != 7 {
		t.Errorf("after Reset: %v", got)
	}
}

// Tokens of one feed stay valid until the next, also the one that came in two pieces.
func TestScannerTokensStay(t *testing.T) {
	var s Scanner
	scan(t, &s, []byte(testHeader+"<a>on"))
	s.Feed([]byte("e</a><b>two</b><c"))
	var got []string
	var held [][]byte
	for {
		kind, b, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if kind == None {
			break
		}
		held = append(held, b)
	}
	for _, b := range held {
		got = append(got, string(b))
	}
	if want := []string{"<a>one</a>", "<b>two</b>"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func FuzzScanner(f *testing.F) {
	all := stanzas(f)
	for i, s := range all {
		f.Add([]byte(header+s+"\n"+all[len(all)-1-i]+"</stream:stream>"), uint64(i))
	}
	f.Add([]byte("<?xml version='1.0' encoding='UTF-16'?><a>"), uint64(1))
	f.Add([]byte("<a><b><![CDATA[]]]]></b><!DOCTYPE"), uint64(2))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		limits := Limits{Stanza: 4096, Depth: 8, Attrs: 8, Elements: 20, Name: 40}
		whole := Scanner{Limits: limits}
		want := scan(t, &whole, stream)
		var chunks [][]byte
		for rest := stream; len(rest) > 0; {
			seed = seed*6364136223846793005 + 1442695040888963407
			n := min(len(rest), 1+int(seed>>60))
			chunks, rest = append(chunks, rest[:n]), rest[n:]
		}
		pieces := Scanner{Limits: limits}
		got := scan(t, &pieces, chunks...)
		if !slices.Equal(got, want) && !bothOverLimit(got, want) {
			t.Fatalf("%q:\nin one %v\n   cut %v", stream, want, got)
		}
		d := Document{Limits: limits}
		var ctx *Context
		for _, tok := range want {
			var err error
			switch tok.kind {
			case Open:
				_, ctx, err = d.ParseHeader([]byte(tok.bytes))
			case Stanza:
				_, err = d.Parse([]byte(tok.bytes), ctx)
			}
			// What is framed is one element or ill-formed, never cut or followed by something.
			if err != nil && (err == error(errCut) || strings.Contains(err.Error(), "something behind")) {
				t.Fatalf("%q: %v", tok.bytes, err)
			}
		}
	})
}

// bothOverLimit reports whether two results differ only in when a token that is too long was refused: that depends on how
// much of it was there at once.
func bothOverLimit(a, b []token) bool {
	n := len(a) - 1
	return n >= 0 && len(b) == n+1 && slices.Equal(a[:n], b[:n]) && a[n].err != "" && b[n].err != "" &&
		(strings.Contains(fmt.Sprint(a[n], b[n]), " longer than "))
}
