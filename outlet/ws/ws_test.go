package ws

import (
	"encoding/json"
	"errors"
	"testing"

	"tidings"
)

// TestCodes: every kind of error has its words, and an error of no kind tells nothing of itself.
func TestCodes(t *testing.T) {
	words := map[string]bool{}
	for _, kind := range append(tidings.ErrorKinds(), 0) {
		c, ok := codes[kind]
		if !ok || c.word == "" || c.close < 1000 || words[c.word] {
			t.Errorf("%v: %+v", kind, c)
		}
		words[c.word] = true
	}
	if len(codes) != len(words) {
		t.Errorf("%d rows for %d kinds", len(codes), len(words))
	}
	var m map[string]any
	if err := json.Unmarshal(failed(nil, errors.New("secret")), &m); err != nil || m["code"] != "internal" || m["detail"] != nil {
		t.Errorf("%v, %v", m, err)
	}
}
