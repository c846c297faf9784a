package media

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"tidings"
)

func checkJSON(b []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	for n := 0; ; n++ {
		tok, err := d.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case errors.Is(err, io.EOF):
			return tidings.Errorf(tidings.ErrInvalid, "the body is empty: want one JSON value")
		case err != nil:
			return badJSON(b, err)
		}
		if d.StackDepth() > MaxDepth {
			return tidings.Errorf(tidings.ErrInvalid, "the JSON is nested deeper than %d levels", MaxDepth)
		}
		_ = tok
		if d.StackDepth() == 0 {
			break
		}
	}
	if _, err := d.ReadToken(); err == nil {
		return tidings.Errorf(tidings.ErrInvalid, "the body has more than one JSON value: the second begins before byte %d", d.InputOffset())
	} else if !errors.Is(err, io.EOF) {
		return badJSON(b, err)
	}
	return nil
}

// badJSON says what and where, in the words of the parser without its name.
func badJSON(b []byte, err error) error {
	what, at := err.Error(), int64(len(b))
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		at = min(syntax.ByteOffset, at)
		if syntax.Err != nil {
			what = syntax.Err.Error()
		}
	}
	what = strings.TrimPrefix(what, "jsontext: ")
	return tidings.Errorf(tidings.ErrInvalid, "the body is not JSON: %s at byte %d, line %d", what, at, 1+bytes.Count(b[:at], []byte("\n")))
}
