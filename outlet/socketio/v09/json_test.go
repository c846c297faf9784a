package v09

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

type jsonRaw = json.RawMessage

// TestAppendSorted: the wanted texts are what Python prints for json.dumps(json.loads(IN), sort_keys=True,
// separators=(",", ":")).
func TestAppendSorted(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`null`, `null`},
		{`-12.5e3`, `-12.5e3`}, // as it came: Python would write the number anew
		{`"a"`, `"a"`},
		{`""`, `""`},
		{`[]`, `[]`},
		{`{}`, `{}`},
		{`[1,"b",[true,{}],{"z":null,"a":[]}]`, `[1,"b",[true,{}],{"a":[],"z":null}]`},
		{`{"wiki":"enwiki","bot":false,"length":{"old":1,"new":2},"id":7}`, `{"bot":false,"id":7,"length":{"new":2,"old":1},"wiki":"enwiki"}`},
		{`{"b":{"d":1,"c":2},"a":"}\"{,"}`, `{"a":"}\"{,","b":{"c":2,"d":1}}`},
		{`{"B":1,"a":2,"_":3,"4::noid":4}`, `{"4::noid":4,"B":1,"_":3,"a":2}`},
		{`{"\u00e9":1,"f":2,"\u0065":3}`, `{"e":3,"f":2,"\u00e9":1}`},
		{`"\u003Cb\u003E \u0026 \/ é € 𝄞 \ud834\udd1e \u007f"`, `"<b> & / \u00e9 \u20ac \ud834\udd1e \ud834\udd1e \u007f"`},
		{`"\b\f\n\r\t\"\\\u0000\u001f"`, `"\b\f\n\r\t\"\\\u0000\u001f"`},
	} {
		got, rest := appendSorted(nil, []byte(tt.in+","))
		if string(got) != tt.want || string(rest) != "," {
			t.Errorf("%s: got %s and %q, want %s", tt.in, got, rest, tt.want)
		}
	}
}

func TestAppendASCII(t *testing.T) {
	in := `{"b":"é\u00e9","a":["𝄞",1,"\/\\",{"ä":"x"}]}`
	want := `{"b":"\u00e9\u00e9","a":["\ud834\udd1e",1,"/\\",{"\u00e4":"x"}]}`
	if got := appendASCII(nil, []byte(in)); string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzJSON: valid JSON keeps its meaning, becomes ASCII, and does not change when it is written again.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`null`, `{"b":[1,"é"],"a":{"\u00e9":"𝄞","e":"\""}}`, `["\\",{"a":{}},[],""]`, `"\u0000"`, `{"a":1.50e-3,"":[[]]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v := jsontext.Value(b)
		if !v.IsValid() || v.Compact() != nil || strings.Count(string(v), "[")+strings.Count(string(v), "{") > 1000 {
			return
		}
		var want any
		if err := json.Unmarshal(v, &want); err != nil {
			t.Skip() // a number out of range
		}
		sorted, rest := appendSorted(nil, v)
		if len(rest) > 0 {
			t.Fatalf("of %s is left %q", v, rest)
		}
		for _, out := range [][]byte{sorted, appendASCII(nil, v)} {
			var got any
			if err := json.Unmarshal(out, &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s became %s: %v", v, out, err)
			}
			if strings.ContainsFunc(string(out), func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("%s became %q, which is not ASCII", v, out)
			}
		}
		if again, _ := appendSorted(nil, sorted); string(again) != string(sorted) {
			t.Fatalf("%s became %s and then %s", v, sorted, again)
		}
	})
}
