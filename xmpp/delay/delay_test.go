package delay

import (
	"testing"
	"time"

	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream/xmlstreamtest"
)

func TestTime(t *testing.T) {
	for in, want := range map[string]string{
		"2002-09-10T23:08:25Z":             "2002-09-10T23:08:25Z",
		"1969-07-20T21:56:15-05:00":        "1969-07-21T02:56:15Z",
		"2002-09-10T23:08:25.5Z":           "2002-09-10T23:08:25.5Z",
		"2002-09-10T23:08:25.123456+00:00": "2002-09-10T23:08:25.123Z",
		" 2002-09-10T23:08:25Z\n":          "2002-09-10T23:08:25Z",
		"":                                 "",
		"20020910T23:08:25":                "",
		"2002-09-10":                       "",
		"2002-13-10T23:08:25Z":             "",
		"yesterday":                        "",
	} {
		got, err := ParseTime(in)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q was read as %v", in, got)
		case want != "" && (err != nil || FormatTime(got) != want):
			t.Errorf("%q was read as %v, %v", in, FormatTime(got), err)
		}
	}
}

func TestDelay(t *testing.T) {
	stamp, room := time.Date(2026, 11, 21, 10, 0, 0, 5e6, time.UTC), jid.MustParse("enwiki@conference.localhost")
	got := string(Append(nil, room, stamp))
	if want := `<delay xmlns='urn:xmpp:delay' from='enwiki@conference.localhost' stamp='2026-11-21T10:00:00.005Z'/>`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if at, from, ok := Find(xmlstreamtest.Element(t, "<message>"+got+"</message>")); !at.Equal(stamp) || from != room || !ok {
		t.Error(at, from, ok)
	}
	if at, from, ok := Find(xmlstreamtest.Element(t, "<message>"+string(Append(nil, jid.JID{}, stamp))+"</message>")); !at.Equal(stamp) || !from.IsZero() || !ok {
		t.Error(at, from, ok)
	}
	for _, in := range []string{"<message/>", "<message><delay xmlns='urn:xmpp:delay'/></message>", "<message><delay stamp='2002-09-10T23:08:25Z'/></message>"} {
		if _, _, ok := Find(xmlstreamtest.Element(t, in)); ok {
			t.Errorf("%s has a delay", in)
		}
	}
	if at, from, ok := Find(xmlstreamtest.Element(t, "<message><delay xmlns='urn:xmpp:delay' from='@' stamp='2002-09-10T23:08:25Z'/></message>")); at.IsZero() || !from.IsZero() || !ok {
		t.Error(at, from, ok)
	}
}

// FuzzTime reads anything; what is a time is the same one when it is written and read again, to the millisecond.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2002-09-10T23:08:25Z", "1969-07-20T21:56:15.1234-05:00", "0000-01-01T00:00:00+23:59", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := ParseTime(s)
		if err != nil || at.Year() < 0 || at.Year() > 9999 {
			return
		}
		again, err := ParseTime(FormatTime(at))
		if err != nil || !again.Equal(at.Truncate(time.Millisecond)) {
			t.Fatalf("%q is %v, written %q, read %v, %v", s, at, FormatTime(at), again, err)
		}
	})
}
