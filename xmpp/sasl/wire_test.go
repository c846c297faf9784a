package sasl

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		in        string
		want      string // "<nil>" for nil
		condition Condition
	}{
		{"", "<nil>", ""},
		{"=", "", ""},
		{"bg==", "n", ""},
		{"biws", "n,,", ""},
		{"bg", "", IncorrectEncoding},
		{"bh==", "", IncorrectEncoding}, // bits behind the end
		{"bi\nws", "", IncorrectEncoding},
		{" biws", "", IncorrectEncoding},
		{"bi-_", "", IncorrectEncoding},
		{"===", "", IncorrectEncoding},
		{strings.Repeat("A", 8<<10), "", MalformedRequest},
	} {
		got, err := DecodeInitial(tt.in)
		switch {
		case tt.condition != "":
			if err == nil || ConditionOf(err) != tt.condition {
				t.Errorf("%.40q: %v, want %s", tt.in, err, tt.condition)
			}
		case err != nil || tt.want == "<nil>" && got != nil || tt.want != "<nil>" && (got == nil || string(got) != tt.want):
			t.Errorf("%q: %#v, %v", tt.in, got, err)
		}
	}
	if _, err := Decode("="); ConditionOf(err) != IncorrectEncoding {
		t.Errorf("an equals sign that is not in <auth/>: %v", err)
	}
}

func TestElements(t *testing.T) {
	const ns = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
	for _, tt := range []struct {
		got  []byte
		want string
	}{
		{AppendMechanisms(nil, []string{ScramSHA1, Plain}), "<mechanisms " + ns + "><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms>"},
		{AppendAuth(nil, Anonymous, nil), "<auth " + ns + " mechanism='ANONYMOUS'/>"},
		{AppendAuth(nil, Anonymous, []byte{}), "<auth " + ns + " mechanism='ANONYMOUS'>=</auth>"},
		{AppendAuth(nil, ScramSHA1, []byte("n,,")), "<auth " + ns + " mechanism='SCRAM-SHA-1'>biws</auth>"},
		{AppendChallenge(nil, nil), "<challenge " + ns + "/>"},
		{AppendChallenge([]byte("x"), []byte("n,,")), "x<challenge " + ns + ">biws</challenge>"},
		{AppendResponse(nil, []byte("n")), "<response " + ns + ">bg==</response>"},
		{AppendSuccess(nil, nil), "<success " + ns + "/>"},
		{AppendAbort(nil), "<abort " + ns + "/>"},
		{AppendFailure(nil, &Error{Condition: NotAuthorized}), "<failure " + ns + "><not-authorized/></failure>"},
		{AppendFailure(nil, fmt.Errorf("x: %w", &Error{Condition: Aborted, Text: "a < b & c"})), "<failure " + ns + "><aborted/><text xml:lang='en'>a &lt; b &amp; c</text></failure>"},
		{AppendFailure(nil, errors.New("secret")), "<failure " + ns + "><temporary-auth-failure/></failure>"},
	} {
		if string(tt.got) != tt.want {
			t.Errorf("got  %s\nwant %s", tt.got, tt.want)
		}
	}
	for _, c := range Conditions {
		var failure struct {
			Inner []struct{ XMLName xml.Name } `xml:",any"`
		}
		if err := xml.Unmarshal(AppendFailure(nil, &Error{Condition: c}), &failure); err != nil || len(failure.Inner) != 1 || failure.Inner[0].XMLName != (xml.Name{Space: NS, Local: string(c)}) {
			t.Errorf("%s: %+v, %v", c, failure, err)
		}
	}
}
